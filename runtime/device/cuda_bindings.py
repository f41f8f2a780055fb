"""CUDA through NVIDIA's cuda-bindings: the runtime API, which works in the device's primary context."""

import ctypes
from typing import Any

import numpy as np
from cuda.bindings import runtime as cudart
from numpy.typing import NDArray

from glus_edge.runtime.device.cuda_api import Gpu, dotted, failed, out_of_memory
from glus_edge.runtime.errors import EngineError


class CudaBindings:
    """See glus_edge.runtime.device.cuda_api.Cuda."""

    name = "cuda-python"
    has_graphs = True

    def __init__(self, device: int = 0) -> None:
        _devices()
        _call(cudart.cudaSetDevice, device)
        properties = _call(cudart.cudaGetDeviceProperties, device)
        self.gpu = Gpu(
            name=properties.name.decode().rstrip("\0"),
            compute_capability=f"{properties.major}.{properties.minor}",
            memory_bytes=int(properties.totalGlobalMem),
            driver=dotted(_call(cudart.cudaDriverGetVersion)),
            integrated=bool(properties.integrated),
            multiprocessors=int(properties.multiProcessorCount),
        )
        self._pinned: dict[int, int] = {}  # numpy address -> CUDA address
        self._executables: dict[int, Any] = {}

    def allocate(self, size_bytes: int) -> int:
        """See Cuda."""
        status, *address = cudart.cudaMalloc(size_bytes)
        if status == cudart.cudaError_t.cudaErrorMemoryAllocation:
            cudart.cudaGetLastError()  # or the next call would report it
            raise out_of_memory(size_bytes, self.free_bytes(), self.gpu)
        if status != cudart.cudaError_t.cudaSuccess:
            raise failed("cudaMalloc", status.name)
        return int(address[0])

    def free(self, address: int) -> None:
        """See Cuda."""
        _call(cudart.cudaFree, address)

    def allocate_pinned(self, size_bytes: int) -> NDArray[np.uint8]:
        """See Cuda."""
        address = int(_call(cudart.cudaMallocHost, size_bytes))
        block = np.ctypeslib.as_array((ctypes.c_uint8 * size_bytes).from_address(address))
        self._pinned[block.ctypes.data] = address
        return block

    def free_pinned(self, block: NDArray[np.uint8]) -> None:
        """See Cuda."""
        _call(cudart.cudaFreeHost, self._pinned.pop(block.ctypes.data))

    def copy_to_device(self, target: int, source: int, size_bytes: int, stream: int) -> None:
        """See Cuda."""
        self._copy(target, source, size_bytes, cudart.cudaMemcpyKind.cudaMemcpyHostToDevice, stream)

    def copy_to_host(self, target: int, source: int, size_bytes: int, stream: int) -> None:
        """See Cuda."""
        self._copy(target, source, size_bytes, cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost, stream)

    def copy_on_device(self, target: int, source: int, size_bytes: int, stream: int) -> None:
        """See Cuda."""
        self._copy(target, source, size_bytes, cudart.cudaMemcpyKind.cudaMemcpyDeviceToDevice, stream)

    def copy_rows_on_device(
        self, target: int, target_pitch: int, source: int, source_pitch: int, row_bytes: int, rows: int, stream: int
    ) -> None:
        """See Cuda."""
        kind = cudart.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        _call(cudart.cudaMemcpy2DAsync, target, target_pitch, source, source_pitch, row_bytes, rows, kind, stream)

    def fill_zero(self, address: int, size_bytes: int, stream: int) -> None:
        """See Cuda."""
        _call(cudart.cudaMemsetAsync, address, 0, size_bytes, stream)

    def memory_device(self, address: int) -> int | None:
        """See Cuda."""
        status, attributes = cudart.cudaPointerGetAttributes(address)
        if status == cudart.cudaError_t.cudaErrorInvalidValue:
            cudart.cudaGetLastError()  # or the next call would report it
            return None
        if status != cudart.cudaError_t.cudaSuccess:
            raise failed("cudaPointerGetAttributes", status.name)
        unknown = attributes.type == cudart.cudaMemoryType.cudaMemoryTypeUnregistered
        return None if unknown else int(attributes.device)

    def create_stream(self) -> int:
        """See Cuda."""
        return int(_call(cudart.cudaStreamCreateWithFlags, cudart.cudaStreamNonBlocking))

    def destroy_stream(self, stream: int) -> None:
        """See Cuda."""
        _call(cudart.cudaStreamDestroy, stream)

    def synchronise(self, stream: int) -> None:
        """See Cuda."""
        _call(cudart.cudaStreamSynchronize, stream)

    def create_event(self) -> int:
        """See Cuda."""
        return int(_call(cudart.cudaEventCreate))

    def destroy_event(self, event: int) -> None:
        """See Cuda."""
        _call(cudart.cudaEventDestroy, event)

    def record(self, event: int, stream: int) -> None:
        """See Cuda."""
        _call(cudart.cudaEventRecord, event, stream)

    def wait(self, stream: int, event: int) -> None:
        """See Cuda."""
        _call(cudart.cudaStreamWaitEvent, stream, event, 0)

    def follow(self, stream: int, producer: int) -> None:
        """See Cuda."""
        event = _call(cudart.cudaEventCreateWithFlags, cudart.cudaEventDisableTiming)
        try:
            _call(cudart.cudaEventRecord, event, producer)
            _call(cudart.cudaStreamWaitEvent, stream, event, 0)
        finally:
            _call(cudart.cudaEventDestroy, event)  # CUDA keeps it until it has been reached

    def synchronise_event(self, event: int) -> None:
        """See Cuda."""
        _call(cudart.cudaEventSynchronize, event)

    def elapsed_ms(self, start: int, stop: int) -> float:
        """See Cuda."""
        return float(_call(cudart.cudaEventElapsedTime, start, stop))

    def begin_capture(self, stream: int) -> None:
        """See Cuda."""
        # thread-local: another thread's allocation (a video decoder's) must not break the capture
        _call(cudart.cudaStreamBeginCapture, stream, cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)

    def end_capture(self, stream: int) -> int:
        """See Cuda."""
        graph = _call(cudart.cudaStreamEndCapture, stream)
        try:
            executable = _call(cudart.cudaGraphInstantiate, graph, 0)
        finally:
            _call(cudart.cudaGraphDestroy, graph)
        self._executables[int(executable)] = executable
        return int(executable)

    def launch(self, graph: int, stream: int) -> None:
        """See Cuda."""
        _call(cudart.cudaGraphLaunch, self._executables[graph], stream)

    def destroy_graph(self, graph: int) -> None:
        """See Cuda."""
        _call(cudart.cudaGraphExecDestroy, self._executables.pop(graph))

    def free_bytes(self) -> int:
        """See Cuda."""
        free, _ = _call(cudart.cudaMemGetInfo)
        return int(free)

    def _copy(self, target: int, source: int, size_bytes: int, kind: Any, stream: int) -> None:
        _call(cudart.cudaMemcpyAsync, target, source, size_bytes, kind, stream)


def _devices() -> None:
    """EngineError: no driver, one that is too old, or no device."""
    try:
        status, count = cudart.cudaGetDeviceCount()
    except RuntimeError as error:  # cuda-bindings 12.8 raises where later ones return cudaErrorInsufficientDriver
        raise _missing(f"no driver ({error})") from error
    if status == cudart.cudaError_t.cudaErrorInsufficientDriver:
        _, driver = cudart.cudaDriverGetVersion()  # 0 without a driver
        raise _missing(f"a driver for CUDA {dotted(driver)}, too old for this cuda-bindings" if driver else "no driver")
    if status != cudart.cudaError_t.cudaSuccess:
        raise _missing(status.name)
    if not count:
        raise _missing("no device")


def _missing(found: str) -> EngineError:
    return EngineError(f"CUDA: got {found}, expected an NVIDIA GPU and its driver; see `glus-edge doctor`")


def _call(function: Any, *arguments: Any) -> Any:
    """The result of a cudart call: nothing, one value, or a tuple. EngineError: it failed."""
    status, *results = function(*arguments)
    if status != cudart.cudaError_t.cudaSuccess:
        raise failed(function.__name__, status.name)
    return results[0] if len(results) == 1 else tuple(results)
