"""Right or not used: an engine's outputs against ONNX Runtime's in float32, on the device it was built for."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from glus_edge.runtime.device.cuda_device import CudaDevice
from glus_edge.runtime.device.device import HostArray
from glus_edge.runtime.engine_build.float32_reference import RecordedCall
from glus_edge.runtime.tensorrt.engine import TensorRtEngine

# Outputs that follow a choice between masks: compared only where the engine chose as the reference did. The four masks
# it chose from are always compared.
_CHOSEN = {"mask_logits", "predicted_iou"}
_CHOICE = "selected_mask"


@dataclass(frozen=True)
class GateSettings:
    """What an engine may be off.

    Rounding to float16 moves outputs by 1e-3 (relative L2) in a small model and more in a deep one; the faults on record
    (overflow in LayerNorm, fused attention gone wrong) leave a cosine below 0.99.
    """

    cosine: float = 0.999  # smallest allowed
    relative_l2: float = 0.04  # largest allowed, |engine - reference| / |reference|
    mask_iou: float = 0.995  # of the whole clip's masks, intersections and unions added up
    frames: int = 4  # of the clip
    calls: int = 4  # of each graph compared


class EngineDifference(NamedTuple):
    """How far an engine is off on all calls."""

    cosine: float  # smallest over float outputs and calls; NaN if the engine gave NaN
    relative_l2: float  # largest
    output: str  # the output that is furthest off
    next_token_agrees: bool  # always True for graphs without that output


def difference(engine: TensorRtEngine, calls: list[RecordedCall]) -> EngineDifference:
    """Runs the calls on the engine's device and compares every output.

    An engine that replays CUDA graphs runs them three times: as they are, captured, and replayed beside the others'
    graphs. Each time counts.
    """
    worst = EngineDifference(1.0, 0.0, "", next_token_agrees=True)
    loaded = [_LoadedCall(engine.device, call) for call in calls]
    for _ in range(3 if engine.graphs.enabled else 1):
        for call in loaded:
            worst = _worst(worst, call.run(engine), call.outputs)
    return worst


def _worst(worst: EngineDifference, got: dict[str, HostArray], expected: dict[str, HostArray]) -> EngineDifference:
    agrees = np.array_equal(got.get("next_token", 0), expected.get("next_token", 0))
    worst = worst._replace(next_token_agrees=worst.next_token_agrees and agrees)
    same_choice = np.array_equal(got.get(_CHOICE, 0), expected.get(_CHOICE, 0))
    for name, wanted in expected.items():
        if wanted.dtype.kind != "f" or (name in _CHOSEN and not same_choice):
            continue
        cosine, relative_l2 = closeness(got[name], wanted)
        if not (cosine >= worst.cosine and relative_l2 <= worst.relative_l2):
            name_of_worst = name if not relative_l2 <= worst.relative_l2 else worst.output
            # np.minimum and np.maximum keep NaN, the builtins may drop it
            worst = worst._replace(
                cosine=float(np.minimum(cosine, worst.cosine)),
                relative_l2=float(np.maximum(relative_l2, worst.relative_l2)),
                output=name_of_worst,
            )
    return worst


def refusal(found: EngineDifference, settings: GateSettings) -> str:
    """Why an engine that is this far off is not used; '' if it may be. NaN is always refused."""
    if not found.cosine >= settings.cosine:
        return f"{found.output}: cosine {found.cosine:.5f}, expected at least {settings.cosine}"
    if not found.relative_l2 <= settings.relative_l2:
        return f"{found.output}: relative L2 {found.relative_l2:.2e}, expected at most {settings.relative_l2}"
    return "" if found.next_token_agrees else "the next token differs"


def closeness(got: HostArray, wanted: HostArray) -> tuple[float, float]:
    """(cosine, |got - wanted| / |wanted|) of two arrays, in float64. (NaN, NaN) where `got` holds NaN or infinity."""
    a, b = got.astype(np.float64).ravel(), wanted.astype(np.float64).ravel()
    if not a.size or np.array_equal(a, b):
        return 1.0, 0.0
    norm_a, norm_b = np.linalg.norm(a), np.linalg.norm(b)
    if not np.isfinite(norm_a):
        return float("nan"), float("nan")
    if not norm_a or not norm_b:
        return 0.0, float("inf")
    return float(a @ b / (norm_a * norm_b)), float(np.linalg.norm(a - b) / norm_b)


def mask_iou(got: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> float:
    """Intersections over unions of all masks, added up first; 1 if all are empty."""
    union = int((got | wanted).sum())
    return int((got & wanted).sum()) / union if union else 1.0


class _LoadedCall:
    """A recorded call whose tensors lie on a device, always at the same addresses."""

    def __init__(self, device: CudaDevice, call: RecordedCall) -> None:
        self.outputs = call.outputs
        self._values = call.inputs
        self._inputs = {name: device.empty(values.shape, values.dtype) for name, values in call.inputs.items()}
        self._outputs = {name: device.empty(values.shape, values.dtype) for name, values in call.outputs.items()}

    def run(self, engine: TensorRtEngine) -> dict[str, HostArray]:
        """What the engine makes of it; nothing of an earlier run is left where it writes."""
        device = engine.device
        for name, values in self._values.items():
            device.write(self._inputs[name], values)
        for name, values in self.outputs.items():
            device.write(self._outputs[name], np.zeros_like(values))
        engine.run(self._inputs, self._outputs)
        return {name: device.read(array).copy() for name, array in self._outputs.items()}
