"""ONNX Runtime's CUDA provider as the engine: tensors stay in device memory, work is enqueued on our streams."""

import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import cache

import onnxruntime

from glus_edge.runtime.backends.engine import Engine, check_tensors
from glus_edge.runtime.backends.onnxruntime_errors import ERRORS, first_line
from glus_edge.runtime.backends.onnxruntime_session import (
    CUDA,
    OnnxRuntimeOptions,
    Provider,
    bundle_session,
    opened_session,
    require_provider,
    session_settings,
)
from glus_edge.runtime.backends.recurring_runs import NOT_CAPTURED, RecurringRuns, RunKey
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.signatures import GraphSignature, TensorSignature
from glus_edge.runtime.device.cuda_api import Cuda
from glus_edge.runtime.device.cuda_array import CudaArray, cuda_array
from glus_edge.runtime.device.cuda_device import CudaDevice
from glus_edge.runtime.device.cuda_stream import MAIN, CudaStream
from glus_edge.runtime.device.device import Array
from glus_edge.runtime.device.open_cuda import open_cuda
from glus_edge.runtime.errors import BundleError, EngineError
from glus_edge.runtime.onnx_rewrite.graph_builder import GraphBuilder

ONNXRUNTIME_CUDA = "onnxruntime-cuda"
# The image encoder needs nothing of the language model: on its own stream the two overlap.
_STREAMS = {"image_encoder": "image", "sam_preprocess": "image"}
# Its cache grows from frame to frame, so that no run recurs; ONNX Runtime captures for fixed shapes only.
_SHAPES_VARY = frozenset({"language_model"})


@dataclass(frozen=True)
class OnnxRuntimeCudaOptions:
    """How sessions are made and run."""

    cuda: str = "auto"  # 'auto', 'cuda-python' or 'pycuda'
    cuda_graphs: bool = True  # replay the kernels of graphs whose shapes and addresses recur
    device_pixels: bool = True  # make the pixels of both image towers on the device; else on the host
    # int4 products by the kernel that multiplies float16 with packed integers, tuned when a graph is loaded
    fpa_intb_gemm: bool = False
    session: OnnxRuntimeOptions = field(default_factory=OnnxRuntimeOptions)


class OnnxRuntimeCudaEngine:
    """One graph in a session on the GPU."""

    def __init__(
        self,
        name: str,
        signature: GraphSignature,
        session: onnxruntime.InferenceSession,
        device: CudaDevice,
        stream: CudaStream,
        *,
        cuda_graphs: bool,
    ) -> None:
        """`stream`: the one the session was told to enqueue its work on."""
        self.name, self.signature, self.device, self.stream = name, signature, device, stream
        self._recurring = RecurringRuns() if cuda_graphs else None
        self._session = session
        # One for each set of outputs that is asked for: an output that was bound once is written ever after.
        self._bindings: dict[tuple[str, ...], _Binding] = {}
        self._run_options: dict[int, onnxruntime.RunOptions] = {}

    def run(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """See Engine. Returns when the work is enqueued: `device.read` waits for it."""
        check_tensors(self.name, self.signature, inputs, outputs)
        given = {name: cuda_array(array) for name, array in inputs.items()}
        asked = {name: cuda_array(array) for name, array in outputs.items()}
        self.device.use((*given.values(), *asked.values()), self.stream)
        wanted = tuple(sorted(asked))
        if wanted not in self._bindings:
            self._bindings[wanted] = _Binding(self._session)
        binding = self._bindings[wanted]
        binding.bind(given, asked)
        options = self._options(NOT_CAPTURED if self._recurring is None else self._recurring.graph_id(binding.key))
        try:
            self._session.run_with_iobinding(binding.native, options)
        except ERRORS as error:
            raise self._failure(error) from error

    def close(self) -> None:
        """Waits for the stream, then drops the session; its memory goes with it. A second time does nothing."""
        if self._session is None:
            return
        self.stream.synchronise()
        self._bindings.clear()
        self._session = None

    def _options(self, graph_id: int) -> onnxruntime.RunOptions:
        if graph_id not in self._run_options:
            options = onnxruntime.RunOptions()
            options.add_run_config_entry("disable_synchronize_execution_providers", "1")
            options.add_run_config_entry("gpu_graph_id", str(graph_id))
            self._run_options[graph_id] = options
        return self._run_options[graph_id]

    def _failure(self, error: Exception) -> EngineError:
        if _no_memory(str(error)):
            return EngineError(f"{self.name}: {out_of_memory(self.device.cuda)}")
        return EngineError(f"{self.name}: ONNX Runtime failed on the GPU: {first_line(error)}; see `glus-edge doctor`")


class _Binding:
    """The tensors of a session, by device address. What has not changed since the last run is not bound again."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self.native = session.io_binding()
        self._bound: dict[str, tuple[int, tuple[int, ...]]] = {}

    def bind(self, inputs: Mapping[str, CudaArray], outputs: Mapping[str, CudaArray]) -> None:
        for bind, arrays in ((self.native.bind_input, inputs), (self.native.bind_output, outputs)):
            for name, array in arrays.items():
                place = (array.address, array.shape)
                if self._bound.get(name) != place:
                    bind(name, "cuda", 0, array.dtype.type, array.shape, array.address)
                    self._bound[name] = place

    @property
    def key(self) -> RunKey:
        """What a captured graph holds for."""
        return tuple(sorted((name, *place) for name, place in self._bound.items()))


class OnnxRuntimeCudaBackend:
    """Opens a bundle's graphs with ONNX Runtime on a GPU."""

    name = ONNXRUNTIME_CUDA

    def __init__(self, bundle: Bundle, cuda: Cuda, options: OnnxRuntimeCudaOptions | None = None) -> None:
        """EngineError: this ONNX Runtime has no CUDA provider."""
        require_provider(CUDA)
        load_cuda_libraries()
        self.device = CudaDevice(cuda)
        self._bundle, self._options = bundle, options or OnnxRuntimeCudaOptions()

    @classmethod
    def open_device(cls, bundle: Bundle, options: OnnxRuntimeCudaOptions | None = None) -> "OnnxRuntimeCudaBackend":
        """On device 0. EngineError: this machine lacks a GPU, a driver, CUDA from Python or the provider."""
        require_provider(CUDA)
        options = options or OnnxRuntimeCudaOptions()
        return cls(bundle, open_cuda(options.cuda), options)

    def open(self, graph: str) -> Engine:
        """See Backend."""
        options = self._options
        captured = options.cuda_graphs and graph not in _SHAPES_VARY
        try:
            session = bundle_session(self._bundle, graph, options.session, self._provider(graph, captured))
        except BundleError as error:
            if not _no_memory(str(error.__cause__)):
                raise
            raise EngineError(f"{graph}: {out_of_memory(self.device.cuda)}") from error
        return self._engine(graph, self._bundle.signature(graph), session, captured)

    def open_model(self, graph: str, model: bytes, signature: GraphSignature) -> Engine:
        """The engine of a graph that is no file of the bundle, an ONNX model without external weights."""
        settings, captured = session_settings(self._options.session, accuracy=1), self._options.cuda_graphs
        session = opened_session(model, graph, signature, settings, self._provider(graph, captured))
        return self._engine(graph, signature, session, captured)

    def _engine(
        self, graph: str, signature: GraphSignature, session: onnxruntime.InferenceSession, captured: bool
    ) -> OnnxRuntimeCudaEngine:
        return OnnxRuntimeCudaEngine(graph, signature, session, self.device, self._stream(graph), cuda_graphs=captured)

    def _stream(self, graph: str) -> CudaStream:
        return self.device.stream(_STREAMS.get(graph, MAIN))

    def _provider(self, graph: str, captured: bool) -> Provider:
        options = {
            "device_id": "0",
            "user_compute_stream": str(self._stream(graph).handle),
            "enable_cuda_graph": str(int(captured)),
            "use_tf32": "0",  # float32 must mean float32
            "arena_extend_strategy": "kSameAsRequested",  # not the next power of two
        }
        settings = {"session.use_device_allocator_for_initializers": "1"}  # weights are not part of the arena
        if self._options.fpa_intb_gemm:
            settings["ep.cuda.fpa_intb_gemm"] = "1"
        return Provider(CUDA, options, settings)


def check_cuda_provider(cuda: Cuda) -> None:
    """Runs a small product on the GPU. EngineError: the provider is not there, or its libraries cannot be loaded."""
    require_provider(CUDA)
    load_cuda_libraries()
    device = CudaDevice(cuda)
    tensors = [TensorSignature(name, "float32", (4, 4)) for name in ("left", "right", "product")]
    graph = GraphBuilder()
    graph.add("MatMul", ["left", "right"], "product")
    signature = GraphSignature(tuple(tensors[:2]), tuple(tensors[2:]), {})
    settings, stream = session_settings(OnnxRuntimeOptions(threads=1), accuracy=1), device.stream()
    provider = Provider(CUDA, {"user_compute_stream": str(stream.handle)})
    model = graph.model("probe", tensors[:2], tensors[2:])
    session = opened_session(model, "a product", signature, settings, provider)
    engine = OnnxRuntimeCudaEngine("probe", signature, session, device, stream, cuda_graphs=False)
    arrays = {tensor.name: device.zeros((4, 4), "float32") for tensor in tensors}
    engine.run({name: arrays[name] for name in ("left", "right")}, {"product": arrays["product"]})
    engine.close()


def out_of_memory(cuda: Cuda) -> str:
    """The end of a message: what is free, and what to do."""
    free, total = cuda.free_bytes() / 1e9, cuda.gpu.memory_bytes / 1e9
    return (
        f"out of device memory, {free:.1f} of {total:.1f} GB free; end what else uses the GPU, ask fewer sentences at once, "
        "or use a smaller bundle"
    )


def _no_memory(text: str) -> bool:
    lowered = text.lower()
    return "out of memory" in lowered or "failed to allocate memory" in lowered


@cache
def load_cuda_libraries() -> None:
    """CUDA and cuDNN from their pip packages, once a process: the provider's own search does not know these folders.

    What cannot be loaded is told on stderr, by ONNX Runtime; the provider may find it elsewhere.
    """
    with redirect_stdout(sys.stderr):
        onnxruntime.preload_dlls()
