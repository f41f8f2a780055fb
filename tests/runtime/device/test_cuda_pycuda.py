"""PyCuda over a stand-in that has pycuda's names and no others (pycuda 2026.1, src/wrapper/wrap_cudadrv.cpp)."""

import ctypes
import importlib
import sys
import types
import weakref

import numpy as np
import pytest

from glus_edge.runtime.errors import EngineError

MODULE = "glus_edge.runtime.device.cuda_pycuda"


class Driver(types.ModuleType):
    """pycuda.driver: device memory is host memory, streams run at once."""

    class Error(Exception):
        pass

    class MemoryError(Error):
        pass

    def __init__(self):
        super().__init__("pycuda.driver")
        self.log, self.blocks = [], {}
        driver = self

        class Context:
            pushed = 0

            def push(self):
                Context.pushed += 1

            @staticmethod
            def pop():
                Context.pushed -= 1

        class Device:
            def __init__(self, number):
                assert number == 0

            @staticmethod
            def count():
                return 1

            def retain_primary_context(self):
                return Context()

            def compute_capability(self):
                return 8, 7

            def name(self):
                return "Orin"

            def total_memory(self):
                return 1 << 34

            def get_attribute(self, attribute):
                return {"INTEGRATED": 1, "MULTIPROCESSOR_COUNT": 8}[attribute]

        class Stream:
            def __init__(self, flags=0):
                assert flags == 1, "waits for the default stream"
                self.handle = 0x5000 + 16 * len(driver.log)
                driver.log.append("stream")

            def synchronize(self):
                driver.log.append("synchronize")

            def wait_for_event(self, event):
                assert isinstance(event, Event)
                driver.log.append("wait")

        class Event:  # has no handle
            def __init__(self, flags=0):
                pass

            def record(self, stream=None):
                assert isinstance(stream, Stream)
                return self

            def synchronize(self):
                return self

            def time_till(self, other):
                assert isinstance(other, Event)
                return 1.5

        class Allocation:
            def __init__(self, size):
                self.memory = np.zeros(size + 256, np.uint8)
                self.address = self.memory.ctypes.data + -self.memory.ctypes.data % 256

            def __int__(self):
                return self.address

            def free(self):
                driver.log.append("free")

        class Memcpy2D:
            src_pitch = dst_pitch = width_in_bytes = height = 0

            def set_src_device(self, address):
                self.source = address

            def set_dst_device(self, address):
                self.target = address

            def __call__(self, stream):
                assert isinstance(stream, Stream)
                for row in range(self.height):
                    ctypes.memmove(
                        self.target + row * self.dst_pitch, self.source + row * self.src_pitch, self.width_in_bytes
                    )

        def copy(target, source, size, stream):
            assert isinstance(stream, Stream)
            ctypes.memmove(target, source, size)

        self.Context, self.Device, self.Stream, self.Event, self.Memcpy2D = Context, Device, Stream, Event, Memcpy2D
        self.device_attribute = types.SimpleNamespace(
            INTEGRATED="INTEGRATED", MULTIPROCESSOR_COUNT="MULTIPROCESSOR_COUNT"
        )
        self.init, self.get_driver_version = lambda: None, lambda: 12060
        self.mem_alloc = Allocation
        self.mem_get_info = lambda: (1 << 33, 1 << 34)
        self.memcpy_htod_async = lambda target, source, stream: copy(target, source.ctypes.data, source.nbytes, stream)
        self.memcpy_dtoh_async = lambda target, source, stream: copy(target.ctypes.data, source, target.nbytes, stream)
        self.memcpy_dtod_async = lambda target, source, size, stream: copy(target, source, size, stream)
        self.memset_d8_async = lambda address, value, size, stream: ctypes.memset(address, value, size)
        self.pagelocked_empty = lambda size, dtype: Pinned.array(size, driver)


class Pinned:
    def __init__(self, driver):
        self.driver = driver

    def free(self):
        self.driver.log.append("free pinned")

    @classmethod
    def array(cls, size, driver):
        class Array(np.ndarray):
            base = cls(driver)

        return np.zeros(size, np.uint8).view(Array)


class LibCuda:
    """The two functions of libcuda that are called by name."""

    def __init__(self, log):
        self.log = log

    def cuStreamSynchronize(self, stream):  # noqa: N802 - the library's name
        self.log.append(("cuStreamSynchronize", stream.value))
        return 0 if stream.value < 1 << 20 else 400

    def cuPointerGetAttribute(self, target, attribute, pointer):  # noqa: N802
        assert attribute.value == 9
        target._obj.value = 0
        return 1 if pointer.value == 64 else 0


@pytest.fixture
def pycuda(monkeypatch):
    driver = Driver()
    package = types.ModuleType("pycuda")
    package.driver = driver
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    module = importlib.import_module(MODULE)
    monkeypatch.setattr(module.ctypes, "CDLL", lambda name: LibCuda(driver.log))
    yield module.PyCuda(), driver
    sys.modules.pop(MODULE, None)


def test_it_knows_its_device(pycuda):
    cuda, _ = pycuda
    assert cuda.gpu.label == "Orin (compute capability 8.7, 8 SMs)"
    assert (cuda.gpu.driver, cuda.gpu.integrated, cuda.free_bytes()) == ("12.6", True, 1 << 33)


def test_memory_streams_and_events_are_pycudas(pycuda):
    cuda, driver = pycuda
    stream, other = cuda.create_stream(), cuda.create_stream()
    first, second = cuda.create_event(), cuda.create_event()
    assert first != second
    cuda.record(first, stream)
    cuda.wait(other, first)
    cuda.synchronise_event(second)
    assert cuda.elapsed_ms(first, second) == 1.5
    address, host = cuda.allocate(32), np.arange(32, dtype=np.uint8)
    cuda.fill_zero(address, 32, stream)
    cuda.copy_to_device(address, host.ctypes.data, 32, stream)
    back = cuda.allocate_pinned(32)
    cuda.copy_to_host(back.ctypes.data, address, 32, stream)
    cuda.synchronise(stream)
    assert np.array_equal(back, host)
    dense = cuda.allocate(12)
    cuda.copy_rows_on_device(dense, 6, address, 16, 6, 2, stream)
    cuda.copy_to_host(back.ctypes.data, dense, 12, stream)
    assert back[:12].tolist() == [0, 1, 2, 3, 4, 5, 16, 17, 18, 19, 20, 21]
    for block in (address, dense):
        cuda.free(block)
    cuda.free_pinned(back)
    for event in (first, second):
        cuda.destroy_event(event)
    for handle in (stream, other):
        cuda.destroy_stream(handle)
    assert driver.log.count("free") == 2
    assert "wait" in driver.log


def test_memory_that_is_not_there_is_one_line_with_what_would_fit(pycuda, monkeypatch):
    cuda, driver = pycuda

    def mem_alloc(size):
        raise driver.MemoryError("cuMemAlloc failed: out of memory")

    monkeypatch.setattr(driver, "mem_alloc", mem_alloc)
    with pytest.raises(EngineError, match=r"request for 9000.0 MB, expected at most the 8589.9 MB that are free"):
        cuda.allocate(9 * 10**9)


def test_another_librarys_stream_is_waited_for_by_the_host(pycuda):
    cuda, driver = pycuda
    cuda.follow(cuda.create_stream(), 0x77)
    assert ("cuStreamSynchronize", 0x77) in driver.log
    with pytest.raises(EngineError, match="cuStreamSynchronize: got 400"):
        cuda.follow(cuda.create_stream(), 1 << 20)


def test_an_address_cuda_does_not_know_has_no_device(pycuda):
    cuda, _ = pycuda
    assert cuda.memory_device(4096) == 0
    assert cuda.memory_device(64) is None


def test_its_context_is_left_at_the_end_or_pycuda_aborts_the_process(pycuda):
    cuda, driver = pycuda
    assert driver.Context.pushed == 1
    finalizer = next(f for f in weakref.finalize._registry if f.alive and f.peek()[0] is cuda)
    assert finalizer.atexit
    finalizer()
    assert driver.Context.pushed == 0
