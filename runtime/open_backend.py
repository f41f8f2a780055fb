"""The engines of a bundle, by the name of what runs them."""

import importlib.util
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import onnxruntime

from glus_edge.runtime.backends.engine import Backend
from glus_edge.runtime.backends.onnxruntime_cuda import (
    ONNXRUNTIME_CUDA,
    OnnxRuntimeCudaBackend,
    OnnxRuntimeCudaOptions,
    check_cuda_provider,
)
from glus_edge.runtime.backends.onnxruntime_engine import OnnxRuntimeBackend
from glus_edge.runtime.backends.onnxruntime_session import OnnxRuntimeOptions
from glus_edge.runtime.backends.openvino_engine import OpenVinoBackend, OpenVinoOptions, load_openvino
from glus_edge.runtime.backends.speed import GRAPH, cached_speeds
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.signatures import GRAPHS
from glus_edge.runtime.device.cuda_api import Gpu
from glus_edge.runtime.device.open_cuda import open_cuda
from glus_edge.runtime.errors import EngineError
from glus_edge.runtime.pixels.preprocess_graph import PREPROCESS_GRAPHS, graph_signature, preprocess_graph
from glus_edge.runtime.pixels.tower_inputs import DeviceTowerInputs, TowerInputs
from glus_edge.runtime.tensorrt.engine import TensorRtBackend, TensorRtOptions
from glus_edge.runtime.tensorrt.library import LIBRARIES, load_tensorrt
from glus_edge.runtime.tensorrt.store import EngineStore
from glus_edge.runtime.utils.machine import processor, thread_count

ONNXRUNTIME, OPENVINO = "onnxruntime", "openvino"
BACKENDS = ("auto", ONNXRUNTIME, ONNXRUNTIME_CUDA, OPENVINO, *LIBRARIES)


@dataclass(frozen=True)
class SegmenterOptions:
    """How a bundle is run; the command line's defaults."""

    # 'auto' takes the fastest that is usable; 'openvino' is faster on some processors; 'onnxruntime-cuda' needs an NVIDIA
    # GPU; 'tensorrt' and 'tensorrt-rtx' run engines that were built here
    backend: str = "auto"
    onnxruntime: OnnxRuntimeOptions = field(default_factory=OnnxRuntimeOptions)
    tensorrt: TensorRtOptions = field(default_factory=TensorRtOptions)  # its library is that of `backend`
    openvino: OpenVinoOptions = field(default_factory=OpenVinoOptions)
    onnxruntime_cuda: OnnxRuntimeCudaOptions = field(default_factory=OnnxRuntimeCudaOptions)


@dataclass(frozen=True)
class BackendChoice:
    """Which backend runs, and why."""

    backend: str
    reason: str
    automatic: bool = True  # False: it was asked for by name, or given

    @property
    def line(self) -> str:
        """For people."""
        return f"backend: {self.backend} ({self.reason})"


class OpenedBackend(NamedTuple):
    """A backend, ready to open a bundle's graphs."""

    backend: Backend
    pixels: TowerInputs | None  # what makes them; None: the host
    choice: BackendChoice


def open_backend(bundle: Bundle, options: SegmenterOptions) -> OpenedBackend:
    """What runs a bundle. EngineError: this machine does not have the backend that was asked for by name."""
    if options.backend not in BACKENDS:
        raise EngineError(f"backend: got {options.backend!r}, expected one of {', '.join(BACKENDS)}")
    if options.backend == "auto":
        return _best(bundle, options)
    return _open(bundle, options, BackendChoice(options.backend, "asked for", automatic=False))


def _open(bundle: Bundle, options: SegmenterOptions, choice: BackendChoice) -> OpenedBackend:
    if choice.backend == OPENVINO:
        return OpenedBackend(OpenVinoBackend(bundle, options.openvino), None, choice)
    if choice.backend == ONNXRUNTIME_CUDA:
        cuda = OnnxRuntimeCudaBackend.open_device(bundle, options.onnxruntime_cuda)
        pixels = cuda_pixels(bundle, cuda) if options.onnxruntime_cuda.device_pixels else None
        return OpenedBackend(cuda, pixels, choice)
    if choice.backend in LIBRARIES:
        backend = TensorRtBackend.open_device(bundle, replace(options.tensorrt, library=choice.backend))
        return OpenedBackend(backend, backend.open_pixels() if options.tensorrt.device_pixels else None, choice)
    return OpenedBackend(OnnxRuntimeBackend(bundle, options.onnxruntime), None, choice)


def _best(bundle: Bundle, options: SegmenterOptions) -> OpenedBackend:
    """Engines built for this GPU, else ONNX Runtime on it, else the faster of what runs on the processor."""
    reasons = []  # why each of the better ones is not taken
    try:
        cuda = open_cuda(options.tensorrt.cuda)
    except EngineError as error:
        reasons.append(f"no GPU: {_short(error)}")
    else:
        for library in LIBRARIES:
            if missing := missing_engines(bundle, library, cuda.gpu, options.tensorrt.device_pixels):
                reasons.append(f"{library}: {missing}")
                continue
            return _open(bundle, options, BackendChoice(library, f"its engines were built for this {cuda.gpu.name}"))
        try:
            check_cuda_provider(cuda)
        except EngineError as error:
            reasons.append(f"{ONNXRUNTIME_CUDA}: {_short(error)}")
        else:
            reasons.append(cuda.gpu.name)
            return _open(bundle, options, BackendChoice(ONNXRUNTIME_CUDA, "; ".join(reasons)))
    name, reason = _faster_on_processor(bundle, options)
    return _open(bundle, options, BackendChoice(name, "; ".join([*reasons, reason])))


def missing_engines(bundle: Bundle, library: str, gpu: Gpu, device_pixels: bool) -> str:
    """Why a bundle's engines of a TensorRT library cannot be run on this GPU, in a few words; '' if they can."""
    store = EngineStore(bundle.directory)
    if not store.records():
        return "no engines"
    try:
        version = load_tensorrt(library).version
        for graph in (*GRAPHS, *(PREPROCESS_GRAPHS if device_pixels else ())):
            _, record = store.find(bundle, graph, library, version, gpu.label)
            if not record.gate:
                return f"the engine of {graph} was compared with nothing"
    except EngineError as error:
        return _short(error)
    return ""


def _faster_on_processor(bundle: Bundle, options: SegmenterOptions) -> tuple[str, str]:
    """The faster library on this processor, and why it is taken."""
    if importlib.util.find_spec("openvino") is None:
        return ONNXRUNTIME, "openvino is not installed"
    try:
        key = " | ".join(
            (
                processor().name,
                f"{thread_count(options.onnxruntime.threads)} threads",
                f"onnxruntime {onnxruntime.__version__}",
                f"openvino {load_openvino().__version__} {options.openvino.precision}",
                bundle.manifest.graphs[GRAPH].graph.sha256,
            )
        )
        speeds = cached_speeds(
            key,
            {
                ONNXRUNTIME: lambda: OnnxRuntimeBackend(bundle, options.onnxruntime),
                OPENVINO: lambda: OpenVinoBackend(bundle, options.openvino),
            },
        )
    except EngineError as error:
        return ONNXRUNTIME, f"openvino: {_short(error)}"
    figures = ", ".join(f"{name} {milliseconds:.0f} ms" for name, milliseconds in speeds.milliseconds.items())
    return speeds.fastest, f"one run of {GRAPH} here: {figures}"


def _short(error: EngineError) -> str:
    """An error without its fix."""
    return str(error).partition(";")[0]


def cuda_pixels(bundle: Bundle, backend: OnnxRuntimeCudaBackend) -> TowerInputs:
    """What makes the pixels of both image towers on the GPU, by graphs that need no file."""
    signatures = {graph: graph_signature(bundle, graph) for graph in PREPROCESS_GRAPHS}
    clip, sam = (
        backend.open_model(graph, preprocess_graph(graph, signature), signature)
        for graph, signature in signatures.items()
    )
    return DeviceTowerInputs(clip, sam, bundle.manifest.clip, bundle.manifest.sam)
