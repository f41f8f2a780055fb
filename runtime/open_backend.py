"""The engines of a bundle, by the name of what runs them."""

from dataclasses import dataclass, field, replace

from glus_edge.runtime.backends.engine import Backend
from glus_edge.runtime.backends.onnxruntime_cuda import (
    ONNXRUNTIME_CUDA,
    OnnxRuntimeCudaBackend,
    OnnxRuntimeCudaOptions,
)
from glus_edge.runtime.backends.onnxruntime_engine import OnnxRuntimeBackend
from glus_edge.runtime.backends.onnxruntime_session import OnnxRuntimeOptions
from glus_edge.runtime.backends.openvino_engine import OpenVinoBackend, OpenVinoOptions
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.errors import EngineError
from glus_edge.runtime.pixels.preprocess_graph import PREPROCESS_GRAPHS, graph_signature, preprocess_graph
from glus_edge.runtime.pixels.tower_inputs import DeviceTowerInputs, TowerInputs
from glus_edge.runtime.tensorrt.engine import TensorRtBackend, TensorRtOptions
from glus_edge.runtime.tensorrt.library import LIBRARIES

BACKENDS = ("auto", "onnxruntime", ONNXRUNTIME_CUDA, "openvino", *LIBRARIES)


@dataclass(frozen=True)
class SegmenterOptions:
    """How a bundle is run; the command line's defaults."""

    # 'auto' is 'onnxruntime'; 'openvino' is faster on some processors; 'onnxruntime-cuda' needs an NVIDIA GPU; 'tensorrt'
    # and 'tensorrt-rtx' run engines that were built here
    backend: str = "auto"
    onnxruntime: OnnxRuntimeOptions = field(default_factory=OnnxRuntimeOptions)
    tensorrt: TensorRtOptions = field(default_factory=TensorRtOptions)  # its library is that of `backend`
    openvino: OpenVinoOptions = field(default_factory=OpenVinoOptions)
    onnxruntime_cuda: OnnxRuntimeCudaOptions = field(default_factory=OnnxRuntimeCudaOptions)


def open_backend(bundle: Bundle, options: SegmenterOptions) -> tuple[Backend, TowerInputs | None]:
    """What runs a bundle, and what makes its pixels if not the host. EngineError: this machine does not have it."""
    if options.backend not in BACKENDS:
        raise EngineError(f"backend: got {options.backend!r}, expected one of {', '.join(BACKENDS)}")
    if options.backend == "openvino":
        return OpenVinoBackend(bundle, options.openvino), None
    if options.backend == ONNXRUNTIME_CUDA:
        chosen = options.onnxruntime_cuda
        cuda = OnnxRuntimeCudaBackend.open_device(bundle, chosen)
        return cuda, cuda_pixels(bundle, cuda) if chosen.device_pixels else None
    if options.backend in LIBRARIES:
        backend = TensorRtBackend.open_device(bundle, replace(options.tensorrt, library=options.backend))
        return backend, backend.open_pixels() if options.tensorrt.device_pixels else None
    return OnnxRuntimeBackend(bundle, options.onnxruntime), None


def cuda_pixels(bundle: Bundle, backend: OnnxRuntimeCudaBackend) -> TowerInputs:
    """What makes the pixels of both image towers on the GPU, by graphs that need no file."""
    signatures = {graph: graph_signature(bundle, graph) for graph in PREPROCESS_GRAPHS}
    clip, sam = (
        backend.open_model(graph, preprocess_graph(graph, signature), signature)
        for graph, signature in signatures.items()
    )
    return DeviceTowerInputs(clip, sam, bundle.manifest.clip, bundle.manifest.sam)
