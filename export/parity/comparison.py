"""Each graph against the torch module it came from, on real inputs, in ONNX Runtime on the CPU."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from glus_edge.export.vision.mask_decoder import STABILITY_DELTA, STABILITY_THRESHOLD
from glus_edge.runtime.bundle.manifest import ParityEntry
from glus_edge.runtime.bundle.signatures import GraphSignature
from glus_edge.runtime.errors import ParityError

Tensors = Mapping[str, NDArray[Any]]

# Relative L2 allowed to any output. float32: the same sums in another order. float16: 11 bits, through some fifty
# layers; a wrong operator is off by 1e-1 or more. An overflow between two nodes is not seen here: float16_range.py.
TOLERANCES = {"float32": 1e-4, "float16": 2e-2}
# Whole numbers, as the share that differs: what the stability rule chose, the next token. In half precision the rule's
# areas may straddle the threshold, and an untrained model's tokens tie: reported there.
SELECTION_TOLERANCES = {"float32": 0.0, "float16": 1.0}
SELECTED = ("mask_logits", "predicted_iou")  # outputs that follow the selection, and where all candidates are found
CANDIDATES = ("all_mask_logits", "all_predicted_iou")


class ParityCase(NamedTuple):
    """One run of a graph: its inputs and what torch makes of them in float32."""

    inputs: Tensors
    expected: Tensors


def measure_parity(
    graph: str, path: Path, signature: GraphSignature, compute: str, cases: Iterable[ParityCase]
) -> tuple[ParityEntry, ...]:
    """One entry per output, over all cases together. Raises ParityError where one misses, naming graph and output."""
    session = cpu_session(path)
    got: dict[str, list[NDArray[Any]]] = {tensor.name: [] for tensor in signature.outputs}
    expected: dict[str, list[NDArray[Any]]] = {tensor.name: [] for tensor in signature.outputs}
    for case in cases:
        inputs = {tensor.name: case.inputs[tensor.name].astype(tensor.dtype) for tensor in signature.inputs}
        outputs = dict(zip(got, session.run(list(got), inputs), strict=True))
        wanted = dict(case.expected)
        if graph == "mask_decoder":
            _check_selection(graph, outputs)
            # The reference's candidate of the same number: a flipped choice is counted once, under selected_mask.
            for chosen, candidates in zip(SELECTED, CANDIDATES, strict=True):
                rows = np.arange(len(outputs["selected_mask"]))
                wanted[chosen] = wanted[candidates][rows, outputs["selected_mask"]].reshape(outputs[chosen].shape)
        for name, value in outputs.items():
            got[name].append(value.ravel())
            expected[name].append(wanted[name].ravel())
    return tuple(
        parity_entry(graph, name, np.concatenate(got[name]), np.concatenate(expected[name]), compute) for name in got
    )


def parity_entry(graph: str, name: str, got: NDArray[Any], expected: NDArray[Any], compute: str) -> ParityEntry:
    """How far one output is from torch's. Raises ParityError beyond the tolerance of `compute`; NaN never passes."""
    if np.issubdtype(got.dtype, np.integer):
        tolerance = SELECTION_TOLERANCES[compute]
        differing = float(np.mean(got != expected))
        entry = ParityEntry(name, differing, float(np.abs(got - expected).max()), tolerance)
    else:
        tolerance = TOLERANCES[compute]
        difference = got.astype(np.float64) - expected
        norm = float(np.linalg.norm(expected.astype(np.float64)))
        relative = float(np.linalg.norm(difference)) / norm if norm else float(difference.any())
        entry = ParityEntry(name, relative, float(np.abs(difference).max()), tolerance)
    # Written so that a NaN, which compares false with everything, is a miss.
    if not entry.relative_l2 <= tolerance:
        raise ParityError(
            f"{graph}: output {name}: got a relative L2 distance of {entry.relative_l2:.2e} from torch, expected at "
            f"most {tolerance:.0e} in {compute}; export with --precision fp32, or report this model"
        )
    return entry


def _check_selection(graph: str, outputs: Tensors) -> None:
    """The chosen mask must be the one the rule chooses from the graph's own candidates."""
    masks, ious = outputs["all_mask_logits"], outputs["all_predicted_iou"]
    inner = (masks[:, 0] > STABILITY_DELTA).sum((1, 2)).astype(np.float32)
    outer = (masks[:, 0] > -STABILITY_DELTA).sum((1, 2)).astype(np.float32)
    stability = np.where(outer > 0, inner / np.maximum(outer, 1), np.float32(1))
    rule = np.where(stability >= np.float32(STABILITY_THRESHOLD), 0, ious[:, 1:].argmax(1) + 1)
    rows = np.arange(len(rule))
    chosen = masks[rows, rule][:, None]
    if not (rule == outputs["selected_mask"]).all() or not np.array_equal(chosen, outputs["mask_logits"]):
        raise ParityError(
            f"{graph}: output selected_mask: got {outputs['selected_mask'].tolist()}, expected {rule.tolist()} by the "
            "stability rule; report this model"
        )


def cpu_session(path: Path) -> onnxruntime.InferenceSession:
    """A graph in ONNX Runtime on the CPU, as it is compared."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # A graph is compared once or twice: nothing is to be kept for the next run.
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    # INT4 products in float32: what is measured is the graph, not a quantisation of its activations.
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
