"""TensorRT as the engine: caller-owned device memory, streams, CUDA graphs. The same code over TensorRT for RTX."""

import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glus_edge.runtime.backends.engine import Engine, check_tensors
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.signatures import GraphSignature, TensorSignature
from glus_edge.runtime.device.cuda_api import Cuda
from glus_edge.runtime.device.cuda_array import CudaArray, cuda_array
from glus_edge.runtime.device.cuda_device import CudaDevice, SharedScratch
from glus_edge.runtime.device.cuda_stream import MAIN
from glus_edge.runtime.device.device import ALIGNMENT, Array
from glus_edge.runtime.device.open_cuda import open_cuda
from glus_edge.runtime.errors import EngineError
from glus_edge.runtime.pixels.tower_inputs import DeviceTowerInputs, TowerInputs
from glus_edge.runtime.tensorrt.context import Context, RuntimeCache, create_context
from glus_edge.runtime.tensorrt.cuda_graphs import CudaGraphs
from glus_edge.runtime.tensorrt.graphs import engine_signature
from glus_edge.runtime.tensorrt.library import TensorRt, create, load_tensorrt, tensor_types
from glus_edge.runtime.tensorrt.plan import context_count, context_index, profile_shape
from glus_edge.runtime.tensorrt.store import EngineStore

# The image encoder needs nothing of the language model: on its own stream the two overlap.
STREAMS = {"image_encoder": "image", "sam_preprocess": "image"}
# Graphs whose shapes and addresses recur.
CAPTURED = frozenset(
    {
        "clip_preprocess",
        "sam_preprocess",
        "clip_encoder",
        "image_encoder",
        "language_model",
        "memory_attention",
        "mask_decoder",
        "memory_encoder",
    }
)

RUNTIME_CACHE = "runtime.cache"  # beside the plan


@dataclass(frozen=True)
class TensorRtOptions:
    """How engines are run."""

    library: str = "tensorrt"  # or 'tensorrt-rtx'
    cuda: str = "auto"  # 'auto', 'cuda-python' or 'pycuda'
    cuda_graphs: bool = True  # replay the kernels of graphs whose shapes and addresses recur
    device_pixels: bool = True  # make the pixels of both image towers by engines; else on the host
    unchecked: bool = False  # run engines that were compared with nothing: for benchmarks of random weights


class TensorRtEngine:
    """One deserialised plan, with an execution context for each size of its own."""

    def __init__(
        self,
        tensorrt: TensorRt,
        name: str,
        signature: GraphSignature,
        plan: Any,
        device: CudaDevice,
        *,
        cuda_graphs: bool = True,
        runtime_cache: Path | None = None,
    ) -> None:
        """`runtime_cache`: where TensorRT for RTX keeps the kernels it compiles; None: nowhere.

        EngineError: the plan is not for this TensorRT and device, its tensors are not the signature's, or no memory.
        """
        self.name, self.signature, self.device = name, signature, device
        self.stream = device.stream(STREAMS.get(name, MAIN))
        self._tensorrt = tensorrt
        tensorrt.messages.clear()
        self._runtime = create(tensorrt, tensorrt.api.Runtime, "run an engine")
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise EngineError(
                f"{name}: {tensorrt.library} {tensorrt.version} cannot load the engine: "
                f"{tensorrt.messages.first_error()}; build it again on this machine"
            )
        self._check_interface()
        self._contexts: list[Context] = []
        rtx = tensorrt.library == "tensorrt-rtx"
        self._kernels = RuntimeCache(tensorrt, self._engine, runtime_cache) if rtx else None
        for _ in range(context_count(signature)):
            made = create_context(tensorrt, self._engine, self._kernels)
            if made is None:
                raise EngineError(
                    f"{name}: no memory for the engine's context: {tensorrt.messages.first_error()}; free device memory, "
                    "or build with smaller limits"
                )
            self._contexts.append(Context(made))
        self.graphs = CudaGraphs(device.cuda, self.stream, cuda_graphs and device.cuda.has_graphs and name in CAPTURED)
        self._scratch: SharedScratch = device.scratch(self.stream)
        self._scratch.reserve(int(self._engine.device_memory_size_v2))  # or there is no memory for it later
        self._unwanted: dict[str, CudaArray] = {}  # where outputs go that the caller does not ask for

    def run(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """See Engine. Returns when the work is enqueued: `device.read` waits for it."""
        sizes = check_tensors(self.name, self.signature, inputs, outputs)
        self._check_limits(sizes)
        size = context_index(self.signature, sizes)
        context = self._contexts[size]
        arrays = {name: cuda_array(array) for name, array in (*inputs.items(), *outputs.items())}
        for tensor in self.signature.outputs:
            if tensor.name not in arrays:
                arrays[tensor.name] = self._sink(tensor)
        for name, array in arrays.items():
            if array.address % ALIGNMENT:
                raise EngineError(
                    f"{self.name}.{name}: got address {array.address:#x}, expected a multiple of {ALIGNMENT} as TensorRT "
                    "requires; this model's rows are too narrow for it: use --backend onnxruntime"
                )
        self.device.use(arrays.values(), self.stream)
        shapes = {tensor.name: arrays[tensor.name].shape for tensor in self.signature.inputs}
        self._set_shapes(context, size, shapes)
        self._set_scratch(context)
        # by name: callers need not name tensors in the same order every time
        key = (size, *(arrays[name].address for name in sorted(arrays)))
        if self.graphs.launch(key):
            return
        self._set_addresses(context, arrays)

        def enqueue() -> None:
            self._enqueue(context)

        if not self.graphs.capture(key, enqueue):
            enqueue()
            self.graphs.observe(key)

    def close(self) -> None:
        """Waits for the stream, then releases graphs, contexts and engine in that order. A second time does nothing."""
        if not self._contexts:
            return
        self.stream.synchronise()
        self.graphs.clear()
        self._unwanted.clear()
        del self._scratch
        if self._kernels is not None:
            self._kernels.save()
        self._contexts.clear()
        self._kernels = self._engine = self._runtime = None

    def _enqueue(self, context: Context) -> None:
        before = len(self._tensorrt.messages.errors)
        if not context.made.execute_async_v3(self.stream.handle):
            raise EngineError(
                f"{self.name}: TensorRT failed: {self._tensorrt.messages.first_error(before)}; build the engine again"
            )

    def _set_shapes(self, context: Context, size: int, shapes: dict[str, tuple[int, ...]]) -> None:
        """A captured graph holds for the shapes it was captured with: other shapes drop it."""
        if shapes == context.shapes:
            return
        self.graphs.clear(size)
        for name, shape in shapes.items():
            if context.shapes.get(name) != shape and not context.made.set_input_shape(name, shape):
                context.shapes = {}
                raise EngineError(f"{self.name}.{name}: TensorRT refused shape {list(shape)}; build the engine again")
        context.shapes = shapes

    def _set_scratch(self, context: Context) -> None:
        """Engines of a stream share their scratch memory: where a larger one opened since, it is elsewhere."""
        size = int(self._engine.device_memory_size_v2)
        block = self._scratch.reserve(size)
        if block.address != context.scratch:
            self.graphs.clear()
            context.made.set_device_memory(block.address, block.nbytes)
            context.scratch = block.address

    def _set_addresses(self, context: Context, arrays: Mapping[str, CudaArray]) -> None:
        for name, array in arrays.items():
            if context.addresses.get(name) == array.address:
                continue
            if not context.made.set_tensor_address(name, array.address):
                raise EngineError(f"{self.name}.{name}: TensorRT refused the address; build the engine again")
            context.addresses[name] = array.address

    def _sink(self, tensor: TensorSignature) -> CudaArray:
        """TensorRT wants an address for every output."""
        if tensor.name not in self._unwanted:
            shape = profile_shape(tensor, self.signature, "maximum")
            self._unwanted[tensor.name] = self.device.empty(shape, tensor.dtype)
        return self._unwanted[tensor.name]

    def _check_limits(self, sizes: Mapping[str, int]) -> None:
        for name, size in sizes.items():
            axis = self.signature.axes[name]
            if not axis.minimum <= size <= axis.maximum:
                raise EngineError(
                    f"{self.name}: got {size} {name}, expected {axis.minimum} to {axis.maximum}, what the engine was built "
                    f"for; {'build it with larger limits' if size > axis.maximum else 'give it more'}"
                )

    def _check_interface(self) -> None:
        api, engine = self._tensorrt.api, self._engine
        names, found = tensor_types(api), {}
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            mode = "input" if engine.get_tensor_mode(name) == api.TensorIOMode.INPUT else "output"
            dtype = engine.get_tensor_dtype(name)
            found[name] = (mode, names.get(dtype, str(dtype)))
        for mode, tensors in (("input", self.signature.inputs), ("output", self.signature.outputs)):
            for tensor in tensors:
                if found.get(tensor.name) != (mode, tensor.dtype):
                    raise EngineError(
                        f"{self.name}: {mode} {tensor.name}: got {found.get(tensor.name)}, expected {tensor.dtype}; "
                        "build the engine again"
                    )


class TensorRtBackend:
    """Opens the engines that `glus-edge build` made for this device."""

    def __init__(self, bundle: Bundle, tensorrt: TensorRt, cuda: Cuda, options: TensorRtOptions) -> None:
        self.name = tensorrt.library
        self.device = CudaDevice(cuda)
        self._bundle, self._tensorrt, self._options = bundle, tensorrt, options
        self._store = EngineStore(bundle.directory)

    @classmethod
    def open_device(cls, bundle: Bundle, options: TensorRtOptions | None = None) -> "TensorRtBackend":
        """Loads TensorRT and CUDA. EngineError: this machine lacks one of them."""
        options = options or TensorRtOptions()
        return cls(bundle, load_tensorrt(options.library), open_cuda(options.cuda), options)

    def open_pixels(self) -> TowerInputs:
        """The engines that make the pixels of both image towers on the device. EngineError: as `open`."""
        manifest = self._bundle.manifest
        return DeviceTowerInputs(self.open("clip_preprocess"), self.open("sam_preprocess"), manifest.clip, manifest.sam)

    def open(self, graph: str) -> Engine:
        """See Backend. EngineError: not built, or built for another device, version or graph."""
        tensorrt, gpu = self._tensorrt, self.device.cuda.gpu
        path, record = self._store.find(self._bundle, graph, tensorrt.library, tensorrt.version, gpu.label)
        if not record.gate and not self._options.unchecked:
            raise EngineError(
                f"{graph}: its engine was built with --no-gate and compared with nothing, expected one that was; "
                f"run `glus-edge build {self._bundle.directory} --backend {tensorrt.library}`"
            )
        return TensorRtEngine(
            tensorrt,
            graph,
            engine_signature(self._bundle, graph, record.key.limits),
            mapped_plan(path),
            self.device,
            cuda_graphs=self._options.cuda_graphs,
            runtime_cache=path.with_name(RUNTIME_CACHE),
        )


def mapped_plan(path: Path) -> mmap.mmap:
    """The bytes of a plan, mapped: gigabytes are not read into memory first.

    NOTE: not np.memmap. TensorRT 10.3 asks the buffer for its memory without holding Python's lock, which numpy needs.
    """
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
