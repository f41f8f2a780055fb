"""CUDA through pycuda, in the device's primary context (not the new one `pycuda.autoinit` would make)."""

import ctypes
import weakref
from itertools import count
from typing import Any

import numpy as np
import pycuda.driver as driver
from numpy.typing import NDArray

from glus_edge.runtime.device.cuda_api import Gpu, dotted, failed, in_use, out_of_memory
from glus_edge.runtime.errors import EngineError

# Of the driver's interface, which pycuda does not name: CUstream_flags, CUpointer_attribute, CUresult.
_NON_BLOCKING, _DEVICE_ORDINAL, _INVALID_VALUE = 1, 9, 1


class PyCuda:
    """See glus_edge.runtime.device.cuda_api.Cuda. pycuda cannot capture graphs: engines run without them."""

    name = "pycuda"
    has_graphs = False

    def __init__(self, device: int = 0) -> None:
        try:
            driver.init()
            if device >= driver.Device.count():
                raise EngineError(f"CUDA: got {driver.Device.count()} devices, expected an NVIDIA GPU; see doctor")
            chosen = driver.Device(device)
            self._context = chosen.retain_primary_context()
        except driver.Error as error:
            if in_use(error):
                raise failed("cuDevicePrimaryCtxRetain", error) from error
            raise EngineError(f"CUDA: got {error}, expected an NVIDIA GPU and its driver; see doctor") from error
        self._context.push()
        # pycuda aborts the process if a context is still pushed at exit. Finalizers run in reverse: this is the last.
        weakref.finalize(self, _leave, self._context)
        # what pycuda does not offer is asked of the driver itself, in the same context
        self._driver = ctypes.CDLL("libcuda.so.1")
        major, minor = chosen.compute_capability()
        self.gpu = Gpu(
            name=chosen.name(),
            compute_capability=f"{major}.{minor}",
            memory_bytes=int(chosen.total_memory()),
            driver=dotted(driver.get_driver_version()),
            integrated=bool(chosen.get_attribute(driver.device_attribute.INTEGRATED)),
            multiprocessors=int(chosen.get_attribute(driver.device_attribute.MULTIPROCESSOR_COUNT)),
        )
        # pycuda frees what no one holds, so what was handed out as a number is held here
        self._memory: dict[int, Any] = {}
        self._streams: dict[int, Any] = {}
        self._events: dict[int, Any] = {}  # pycuda's events have no handle: they are numbered
        self._numbers = count(1)

    def allocate(self, size_bytes: int) -> int:
        """See Cuda."""
        try:
            block = driver.mem_alloc(size_bytes)
        except driver.MemoryError as error:
            raise out_of_memory(size_bytes, self.free_bytes(), self.gpu) from error
        except driver.Error as error:
            raise failed("mem_alloc", error) from error
        self._memory[int(block)] = block
        return int(block)

    def free(self, address: int) -> None:
        """See Cuda."""
        self._memory.pop(address).free()

    def allocate_pinned(self, size_bytes: int) -> NDArray[np.uint8]:
        """See Cuda."""
        block: NDArray[np.uint8] = _call(driver.pagelocked_empty, size_bytes, np.uint8)
        return block

    def free_pinned(self, block: NDArray[np.uint8]) -> None:
        """See Cuda."""
        base: Any = block.base
        base.free()

    def copy_to_device(self, target: int, source: int, size_bytes: int, stream: int) -> None:
        """See Cuda."""
        _call(driver.memcpy_htod_async, target, _host(source, size_bytes), self._streams[stream])

    def copy_to_host(self, target: int, source: int, size_bytes: int, stream: int) -> None:
        """See Cuda."""
        _call(driver.memcpy_dtoh_async, _host(target, size_bytes), source, self._streams[stream])

    def copy_on_device(self, target: int, source: int, size_bytes: int, stream: int) -> None:
        """See Cuda."""
        _call(driver.memcpy_dtod_async, target, source, size_bytes, self._streams[stream])

    def copy_rows_on_device(
        self, target: int, target_pitch: int, source: int, source_pitch: int, row_bytes: int, rows: int, stream: int
    ) -> None:
        """See Cuda."""
        copy = driver.Memcpy2D()
        copy.set_src_device(source)
        copy.src_pitch = source_pitch
        copy.set_dst_device(target)
        copy.dst_pitch = target_pitch
        copy.width_in_bytes = row_bytes
        copy.height = rows
        _call(copy, self._streams[stream])

    def fill_zero(self, address: int, size_bytes: int, stream: int) -> None:
        """See Cuda."""
        _call(driver.memset_d8_async, address, 0, size_bytes, self._streams[stream])

    def memory_device(self, address: int) -> int | None:
        """See Cuda."""
        device = ctypes.c_int()
        attribute, pointer = ctypes.c_int(_DEVICE_ORDINAL), ctypes.c_uint64(address)
        status = self._driver.cuPointerGetAttribute(ctypes.byref(device), attribute, pointer)
        if status not in (0, _INVALID_VALUE):
            raise failed("cuPointerGetAttribute", status)
        return None if status else device.value

    def create_stream(self) -> int:
        """See Cuda."""
        stream = _call(driver.Stream, _NON_BLOCKING)
        self._streams[int(stream.handle)] = stream
        return int(stream.handle)

    def destroy_stream(self, stream: int) -> None:
        """See Cuda."""
        del self._streams[stream]

    def synchronise(self, stream: int) -> None:
        """See Cuda."""
        _call(self._streams[stream].synchronize)

    def create_event(self) -> int:
        """See Cuda."""
        number = next(self._numbers)
        self._events[number] = _call(driver.Event)
        return number

    def destroy_event(self, event: int) -> None:
        """See Cuda."""
        del self._events[event]

    def record(self, event: int, stream: int) -> None:
        """See Cuda."""
        _call(self._events[event].record, self._streams[stream])

    def wait(self, stream: int, event: int) -> None:
        """See Cuda."""
        _call(self._streams[stream].wait_for_event, self._events[event])

    def follow(self, stream: int, producer: int) -> None:
        """See Cuda. pycuda records events on streams of its own only, so here the host waits."""
        status = self._driver.cuStreamSynchronize(ctypes.c_void_p(producer))
        if status:
            raise failed("cuStreamSynchronize", status)

    def synchronise_event(self, event: int) -> None:
        """See Cuda."""
        _call(self._events[event].synchronize)

    def elapsed_ms(self, start: int, stop: int) -> float:
        """See Cuda."""
        return float(_call(self._events[start].time_till, self._events[stop]))

    def begin_capture(self, stream: int) -> None:
        """See Cuda."""
        raise EngineError("CUDA graphs: got pycuda, which cannot capture; pip install cuda-bindings, or turn them off")

    def end_capture(self, stream: int) -> int:
        """See Cuda."""
        raise EngineError("CUDA graphs: got pycuda, which cannot capture; pip install cuda-bindings, or turn them off")

    def launch(self, graph: int, stream: int) -> None:
        """See Cuda."""
        raise EngineError("CUDA graphs: got pycuda, which cannot launch one; pip install cuda-bindings")

    def destroy_graph(self, graph: int) -> None:
        """See Cuda."""
        raise EngineError("CUDA graphs: got pycuda, which has none; pip install cuda-bindings")

    def free_bytes(self) -> int:
        """See Cuda."""
        free, _ = _call(driver.mem_get_info)
        return int(free)


def _leave(context: Any) -> None:
    context.pop()


def _host(address: int, size_bytes: int) -> Any:
    """Host memory at an address as the buffer pycuda's copies take."""
    return np.ctypeslib.as_array((ctypes.c_uint8 * size_bytes).from_address(address))


def _call(function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except driver.Error as error:
        raise failed(getattr(function, "__name__", "call"), error) from error
