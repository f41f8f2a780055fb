"""A TEST DOUBLE of CUDA: host memory, and streams that run as late as they may.

Nothing is run when it is enqueued. A stream runs up to a point only when the host waits for it, or when another stream's
wait needs it: whoever forgets to wait reads what was there before. New memory holds NaN. No figure comes from it.
"""

import ctypes
from collections import deque
from dataclasses import dataclass

import numpy as np

from glus_edge.runtime.device.cuda_api import Gpu
from glus_edge.runtime.device.device import ALIGNMENT

LEGACY_DEFAULT_STREAM = 1
POISON = 0xFF  # every byte: NaN in float32 and float16, -1 in int32


class Stream:
    def __init__(self):
        self.queue = deque()
        self.enqueued = self.done = 0
        self.captured = None  # operations recorded since begin_capture

    def enqueue(self, operation):
        if self.captured is not None:
            self.captured.append(operation)
            return
        self.queue.append(operation)
        self.enqueued += 1

    def run_to(self, mark):
        while self.done < mark:
            operation = self.queue.popleft()
            operation()
            self.done += 1


@dataclass
class Copies:
    """Number and bytes of the copies of each direction."""

    to_device: int = 0
    to_device_bytes: int = 0
    to_host: int = 0
    to_host_bytes: int = 0
    on_device: int = 0
    on_device_bytes: int = 0

    def count(self, kind, size_bytes):
        setattr(self, kind, getattr(self, kind) + 1)
        setattr(self, f"{kind}_bytes", getattr(self, f"{kind}_bytes") + size_bytes)

    def clear(self):
        self.__init__()


class CudaDouble:
    name = "cuda-double"

    def __init__(self, graphs=True):
        self.has_graphs = graphs
        self.gpu = Gpu("Test double", "0.0", 1 << 34, "0.0", integrated=False, multiprocessors=1)
        self.log = []  # (call, stream) in the order enqueued
        self.waits = []  # place in the log, who waits, for whom
        self.streams = {LEGACY_DEFAULT_STREAM: Stream()}
        self.graphs = {}
        self.memory = {}  # address -> numpy block
        self.devices = {}  # address -> number of its device, where it is not 0
        self._pinned = {}
        self._events = {}
        self.copies = Copies()
        self._next = 16  # handles CUDA gives a meaning of their own are never given out

    def allocate(self, size_bytes):
        assert not self._capturing(), "allocation during capture"
        block = np.full(size_bytes + ALIGNMENT, POISON, np.uint8)
        offset = -block.ctypes.data % ALIGNMENT
        address = block.ctypes.data + offset
        self.memory[address] = (block, size_bytes)
        return address

    def free(self, address):
        # like cudaFree, which waits for the device
        for stream in self.streams.values():
            stream.run_to(stream.enqueued)
        block, _ = self.memory.pop(address)
        block.fill(POISON)

    def allocate_pinned(self, size_bytes):
        block = np.full(size_bytes, POISON, np.uint8)
        self._pinned[block.ctypes.data] = block
        return block

    def free_pinned(self, block):
        del self._pinned[block.ctypes.data]

    def copy_to_device(self, target, source, size_bytes, stream):
        self._copy("to_device", target, source, size_bytes, stream)

    def copy_to_host(self, target, source, size_bytes, stream):
        self._copy("to_host", target, source, size_bytes, stream)

    def copy_on_device(self, target, source, size_bytes, stream):
        self.check(source, size_bytes)
        self._copy("on_device", target, source, size_bytes, stream)

    def copy_rows_on_device(self, target, target_pitch, source, source_pitch, row_bytes, rows, stream):
        assert min(source_pitch, target_pitch) >= row_bytes
        self.check(source, (rows - 1) * source_pitch + row_bytes)
        self.check(target, (rows - 1) * target_pitch + row_bytes)

        def copy():
            for row in range(rows):
                ctypes.memmove(target + row * target_pitch, source + row * source_pitch, row_bytes)

        self.copies.count("on_device", row_bytes * rows)
        self.enqueue("on_device", stream, copy)

    def memory_device(self, address):
        inside = any(start <= address < start + size for start, (_, size) in self.memory.items())
        return self.devices.get(address, 0) if inside else None

    def fill_zero(self, address, size_bytes, stream):
        self.check(address, size_bytes)
        self.enqueue("fill_zero", stream, lambda: ctypes.memset(address, 0, size_bytes))

    def create_stream(self):
        return self._new(self.streams, Stream())

    def destroy_stream(self, stream):
        assert not self.streams.pop(stream).queue, "a stream with work left was destroyed"

    def synchronise(self, stream):
        assert not self._capturing(), "the host waits during capture"
        self.log.append(("synchronise", stream))
        self.streams[stream].run_to(self.streams[stream].enqueued)

    def create_event(self):
        return self._new(self._events, None)

    def destroy_event(self, event):
        del self._events[event]

    def record(self, event, stream):
        self.log.append(("record", stream))
        self._events[event] = (self.streams[stream], self.streams[stream].enqueued)

    def wait(self, stream, event):
        other, mark = self._events[event]
        self.waits.append((len(self.log), stream, next(handle for handle, s in self.streams.items() if s is other)))
        self.enqueue("wait", stream, lambda: other.run_to(mark))

    def follow(self, stream, producer):
        other, mark = self.streams[producer], self.streams[producer].enqueued
        self.enqueue("wait", stream, lambda: other.run_to(mark))

    def synchronise_event(self, event):
        assert not self._capturing(), "the host waits during capture"
        self.log.append(("synchronise_event", None))
        stream, mark = self._events[event]
        stream.run_to(mark)

    def elapsed_ms(self, start, stop):
        assert start in self._events
        assert stop in self._events
        return 1.0

    def begin_capture(self, stream):
        assert self.has_graphs, "this double cannot capture"
        assert self.streams[stream].captured is None, "capture within capture"
        self.log.append(("begin_capture", stream))
        self.streams[stream].captured = []

    def end_capture(self, stream):
        operations, self.streams[stream].captured = self.streams[stream].captured, None
        self.log.append(("end_capture", stream))
        return self._new(self.graphs, operations)

    def launch(self, graph, stream):
        self.log.append(("launch", stream))
        for operation in self.graphs[graph]:
            self.streams[stream].enqueue(operation)

    def destroy_graph(self, graph):
        del self.graphs[graph]

    def free_bytes(self):
        return 1 << 33

    def enqueue(self, call, stream, operation):
        self.log.append((call, stream))
        self.streams[stream].enqueue(operation)

    def check(self, address, size_bytes):
        """The range lies in one allocation that is still there."""
        assert any(
            start <= address and address + size_bytes <= start + size
            for start, (_, size) in list(self.memory.items())  # frames are decoded in another thread
        )

    def calls(self, name):
        return sum(call == name for call, _ in self.log)

    def waited(self, stream, other, before):
        """How often `stream` was told to wait for `other`, up to a place in the log."""
        return sum(place < before and pair == (stream, other) for place, *rest in self.waits for pair in [tuple(rest)])

    def _copy(self, kind, target, source, size_bytes, stream):
        if kind != "to_host":
            self.check(target, size_bytes)
        else:
            self.check(source, size_bytes)
        self.copies.count(kind, size_bytes)
        self.enqueue(kind, stream, lambda: ctypes.memmove(target, source, size_bytes))

    def _capturing(self):
        return any(stream.captured is not None for stream in self.streams.values())

    def _new(self, kept, thing):
        handle, self._next = self._next, self._next + 1
        kept[handle] = thing
        return handle
