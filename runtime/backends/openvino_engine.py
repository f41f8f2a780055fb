"""OpenVINO as the engine of the large graphs on x86 processors: products in bfloat16 where the processor multiplies it.

bfloat16 is the precision the reference itself runs in by default. Mask decoder and memory encoder stay with ONNX Runtime
in float32: there it is the faster of the two, and logits decide at zero.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glus_edge.runtime.backends.engine import Engine, check_tensors
from glus_edge.runtime.backends.onnxruntime_engine import OnnxRuntimeBackend
from glus_edge.runtime.backends.onnxruntime_session import OnnxRuntimeOptions
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.precisions import BF16, FP32
from glus_edge.runtime.device.device import Array, Device, HostDevice, host_array
from glus_edge.runtime.errors import EngineError
from glus_edge.runtime.utils.machine import thread_count

PRECISIONS = {BF16: "bf16", FP32: "f32"}  # as OpenVINO calls them
GRAPHS = ("clip_encoder", "language_model", "image_encoder", "memory_attention")


@dataclass(frozen=True)
class OpenVinoOptions:
    """How graphs are compiled."""

    precision: str = BF16  # of products, in PRECISIONS; inputs and outputs stay what the bundle says
    threads: int = 0  # per graph; 0: every core this process may use


class OpenVinoEngine:
    """One graph compiled for this processor."""

    def __init__(self, bundle: Bundle, graph: str, device: Device, options: OpenVinoOptions) -> None:
        self.name = graph
        self.signature = bundle.signature(graph)
        self.device = device
        self._library = load_openvino()
        self._model = compiled_model(self._library, bundle.graph_path(graph), options)
        # One for each set of outputs that is asked for: an output that was bound once is written ever after.
        self._requests: dict[tuple[str, ...], Any] = {}

    def run(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """See Engine."""
        check_tensors(self.name, self.signature, inputs, outputs)
        wanted = tuple(sorted(outputs))
        if wanted not in self._requests:
            self._requests[wanted] = self._model.create_infer_request()
        request = self._requests[wanted]
        try:
            for name, value in (*inputs.items(), *outputs.items()):
                request.set_tensor(name, self._library.Tensor(host_array(value), shared_memory=True))
            request.infer()
        except RuntimeError as error:
            raise EngineError(
                f"{self.name}: OpenVINO failed: {_last_line(error)}; use --backend onnxruntime"
            ) from error

    def close(self) -> None:
        """Drops the compiled graph; its memory goes with it."""
        self._requests.clear()
        del self._model


class OpenVinoBackend:
    """Opens GRAPHS with OpenVINO and the others with ONNX Runtime, all in main memory."""

    name = "openvino"

    def __init__(self, bundle: Bundle, options: OpenVinoOptions | None = None) -> None:
        self.device: Device = HostDevice()
        self._bundle = bundle
        self._options = options or OpenVinoOptions()
        self._others = OnnxRuntimeBackend(bundle, OnnxRuntimeOptions(threads=self._options.threads))

    def open(self, graph: str) -> Engine:
        """See Backend."""
        if graph not in GRAPHS:
            return self._others.open(graph)
        return OpenVinoEngine(self._bundle, graph, self.device, self._options)


def compiled_model(library: Any, path: Path, options: OpenVinoOptions) -> Any:
    """A graph compiled by the library. EngineError: it cannot."""
    try:
        core = library.Core()
        return core.compile_model(core.read_model(str(path)), "CPU", _settings(core, options))
    except RuntimeError as error:
        raise EngineError(
            f"{path}: OpenVINO {library.__version__} cannot compile it: {_last_line(error)}; use --backend onnxruntime"
        ) from error


def load_openvino() -> Any:
    """The library. EngineError: it is not installed."""
    try:
        return importlib.import_module("openvino")
    except (ImportError, OSError) as error:
        cause = (str(error).splitlines() or [type(error).__name__])[0]
        raise EngineError(f"openvino: cannot be imported ({cause}); pip install openvino") from error


def _settings(core: Any, options: OpenVinoOptions) -> dict[str, object]:
    if options.precision not in PRECISIONS:
        raise EngineError(f"OpenVINO precision: got {options.precision!r}, expected one of {', '.join(PRECISIONS)}")
    if options.precision == BF16 and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise EngineError(
            "OpenVINO precision: got bf16, but this processor multiplies no bfloat16; use --openvino-precision fp32"
        )
    return {
        "INFERENCE_PRECISION_HINT": PRECISIONS[options.precision],
        "INFERENCE_NUM_THREADS": thread_count(options.threads),
        "PERFORMANCE_HINT": "LATENCY",
    }


def _last_line(error: Exception) -> str:
    """What failed: OpenVINO's messages begin with places in its own source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1][:200]
