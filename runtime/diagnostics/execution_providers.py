"""Which ONNX Runtime execution providers really run a graph here: being listed says little."""

from dataclasses import dataclass

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from glus_edge.runtime.backends.onnxruntime_cuda import load_cuda_libraries
from glus_edge.runtime.backends.onnxruntime_session import CUDA
from glus_edge.runtime.bundle.signatures import TensorSignature
from glus_edge.runtime.onnx_rewrite.graph_builder import GraphBuilder

REMOTE = "AzureExecutionProvider"  # sends graphs to a service; listed by every build, used by nobody here
_SIDE = 4
# What ONNX Runtime raises where a provider cannot make or run a graph.
PROVIDER_ERRORS = (
    ort_errors.EPFail,
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)


@dataclass(frozen=True)
class ProviderState:
    """One execution provider of ONNX Runtime, tried."""

    name: str
    usable: bool
    detail: str  # why not, or how far its product was off


def check_providers() -> tuple[ProviderState, ...]:
    """Runs a matrix product on every provider this ONNX Runtime lists, one at a time."""
    onnxruntime.set_default_logger_severity(4)
    available = onnxruntime.get_available_providers()
    if CUDA in available:
        load_cuda_libraries()
    return tuple(_check(name) for name in available if name != REMOTE)


def _check(name: str) -> ProviderState:
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    left = np.arange(_SIDE * _SIDE, dtype=np.float32).reshape(_SIDE, _SIDE) / 7
    right = np.eye(_SIDE, dtype=np.float32) * 3 + left.T
    try:
        session = onnxruntime.InferenceSession(matrix_product(), settings, providers=[name], enable_fallback=0)
        used = session.get_providers()
        product = session.run(None, {"left": left, "right": right})[0]
    except (*PROVIDER_ERRORS, RuntimeError, ValueError) as error:
        return ProviderState(name, usable=False, detail=" ".join(str(error).split())[:300])
    if used[0] != name:
        return ProviderState(name, usable=False, detail=f"ONNX Runtime took {used[0]} instead")
    error_size = float(np.abs(product - left @ right).max() / np.abs(product).max())
    # TF32, which GPUs may use for float32 products, keeps ten bits of the mantissa.
    return ProviderState(name, usable=error_size < 5e-3, detail=f"a product came out {error_size:.0e} off")


def matrix_product() -> bytes:
    """An ONNX model of one MatMul: left, right and product float32 [4, 4]."""
    left, right, product = (TensorSignature(name, "float32", (_SIDE, _SIDE)) for name in ("left", "right", "product"))
    graph = GraphBuilder()
    graph.add("MatMul", [left.name, right.name], product.name)
    return graph.model("matrix_product", [left, right], [product])
