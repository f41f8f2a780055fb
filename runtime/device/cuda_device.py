"""CUDA memory as the loop's device: allocations, copies in stream order, and who may touch what when.

Engines run on streams of their own. An allocation remembers the stream that used it last; a stream that touches it next
first waits for that one. So engines that share no memory overlap, and those that do come one after the other, without
the loop saying so and without the host waiting.
"""

import math
import weakref
from collections.abc import Iterable
from typing import Any

import numpy as np

from glus_edge.runtime.device.cuda_api import Cuda
from glus_edge.runtime.device.cuda_array import CudaArray, CudaBlock, cuda_array
from glus_edge.runtime.device.cuda_stream import FOREIGN, MAIN, CudaStream, StreamMark
from glus_edge.runtime.device.device import ALIGNMENT, Array, Device, HostArray, check_columns


class SharedScratch:
    """Memory for all that runs on one stream: it runs one after the other."""

    def __init__(self, device: "CudaDevice") -> None:
        self._device = device
        self._block: CudaArray | None = None

    def reserve(self, size_bytes: int) -> CudaArray:
        """At least this much. A larger block takes the place of a smaller one: who uses it asks before each run."""
        if self._block is None or self._block.nbytes < size_bytes:
            self._block = None  # before there is a larger one: both need not fit
            self._block = self._device.empty((max(1, size_bytes),), "uint8")
        return self._block


class CudaDevice:
    """See glus_edge.runtime.device.device.Device. Memory is given back when the last view of it is gone."""

    concurrent = True

    def __init__(self, cuda: Cuda) -> None:
        self.cuda = cuda
        self._streams: dict[str, CudaStream] = {}
        self._scratch: weakref.WeakValueDictionary[str, SharedScratch] = weakref.WeakValueDictionary()  # by stream

    def stream(self, name: str = MAIN) -> CudaStream:
        """The stream of this name, made when first asked for."""
        if name not in self._streams:
            self._streams[name] = CudaStream(self.cuda, name)
        return self._streams[name]

    def scratch(self, stream: CudaStream) -> SharedScratch:
        """The scratch memory of a stream; given back when no one holds it any more."""
        scratch = self._scratch.get(stream.name)
        if scratch is None:
            scratch = self._scratch[stream.name] = SharedScratch(self)
        return scratch

    def use(self, arrays: Iterable[CudaArray], stream: CudaStream) -> None:
        """Orders `stream` behind the last use of these arrays; it is their last user from now on."""
        waited: set[str] = set()
        for array in arrays:
            last = array.block.stream
            if last is stream:
                continue
            if last is not None and last.name not in waited:
                stream.wait_for(last)
                waited.add(last.name)
            array.block.stream = stream

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any] | str) -> CudaArray:
        """See Device. An array of no elements has an address of its own too."""
        kind = np.dtype(dtype)
        size = max(ALIGNMENT, math.prod(shape) * kind.itemsize)
        address = self.cuda.allocate(size)
        assert address % ALIGNMENT == 0, f"device memory at {address:#x}, expected a multiple of {ALIGNMENT}"
        block = CudaBlock(address, size)
        weakref.finalize(block, self.cuda.free, address)
        return CudaArray(block, 0, tuple(shape), kind)

    def adopt(self, address: int, shape: tuple[int, ...], dtype: np.dtype[Any] | str, owner: object) -> CudaArray:
        """Memory of another library, dense, as an array that keeps `owner` alive and is never written.

        It may be read behind all that `follow` was told of.
        """
        kind = np.dtype(dtype)
        block = CudaBlock(address, math.prod(shape) * kind.itemsize, owner)
        block.stream = self.stream(FOREIGN)
        return CudaArray(block, 0, tuple(shape), kind)

    @property
    def foreign_stream(self) -> int:
        """Handle of the stream behind which adopted memory is read: for libraries that make a stream wait themselves."""
        return self.stream(FOREIGN).handle

    def follow(self, producer: int) -> None:
        """Adopted memory is read behind what is enqueued now on another library's stream, given by its handle."""
        self.cuda.follow(self.foreign_stream, producer)

    def mark(self, array: CudaArray) -> StreamMark:
        """A mark behind the last use of an array so far."""
        mark = StreamMark(self.cuda)
        mark.put(self._stream_of(array))
        return mark

    def zeros(self, shape: tuple[int, ...], dtype: np.dtype[Any] | str) -> CudaArray:
        """See Device."""
        array = self.empty(shape, dtype)
        self.cuda.fill_zero(array.address, array.block.size_bytes, self._stream_of(array).handle)
        return array

    def write(self, target: Array, source: HostArray) -> None:
        """See Device. Returns when `source` may be changed; the copy itself is in stream order, from pinned memory."""
        array = cuda_array(target)
        assert array.shape == source.shape, f"got {source.shape}, expected {array.shape}"
        if not array.nbytes:
            return
        block, stream = array.block, self._stream_of(array)
        start, stop = array.offset, array.offset + array.nbytes
        if block.sent is None:
            block.sent = self.cuda.create_event()
            weakref.finalize(block, self.cuda.destroy_event, block.sent)
        if any(first < stop and start < last for first, last in block.unsent):
            self.cuda.synchronise_event(block.sent)
            block.unsent.clear()
        np.copyto(self._mirrored(array), source, casting="same_kind")
        block.unsent.append((start, stop))
        self.cuda.copy_to_device(array.address, self._mirror_address(array), array.nbytes, stream.handle)
        self.cuda.record(block.sent, stream.handle)

    def read(self, source: Array) -> HostArray:
        """See Device. Waits for the array's stream; the view is of pinned memory."""
        array = cuda_array(source)
        mirrored = self._mirrored(array)
        if array.nbytes:
            stream = self._stream_of(array)
            self.cuda.copy_to_host(self._mirror_address(array), array.address, array.nbytes, stream.handle)
            stream.synchronise()
            array.block.unsent.clear()
        return mirrored

    def copy(self, target: Array, source: Array) -> None:
        """See Device."""
        into, out = cuda_array(target), cuda_array(source)
        assert into.dtype == out.dtype, f"got {out.dtype}, expected {into.dtype}"
        while len(out.shape) < len(into.shape):
            out = out.reshape((1, *out.shape))
        if into.shape != out.shape:
            assert out.shape[0] == 1, f"got {out.shape}, expected {into.shape} or leading ones"
            for row in range(into.shape[0]):
                self.copy(into[row], out[0])
            return
        if not into.nbytes:
            return
        stream = self._stream_of(into)
        self.use((out,), stream)
        self.cuda.copy_on_device(into.address, out.address, into.nbytes, stream.handle)

    def copy_rows(self, target: Array, source: CudaArray, pitch: int) -> None:
        """Rows that lie `pitch` bytes apart in `source`, bytes, into the rows of a dense array."""
        into = cuda_array(target)
        stream = self._stream_of(into)
        self.use((source,), stream)
        rows, row_bytes = into.shape[0], into.nbytes // into.shape[0]
        self.cuda.copy_rows_on_device(into.address, row_bytes, source.address, pitch, row_bytes, rows, stream.handle)

    def copy_columns(self, target: Array, start: int, source: Array, first: int, count: int) -> None:
        """See Device."""
        into, out = cuda_array(target), cuda_array(source)
        check_columns(into, start, out, first, count)
        stream = self._stream_of(into)
        self.use((out,), stream)
        rows = into.shape[0]
        target_pitch, source_pitch = into.nbytes // rows, out.nbytes // rows
        column = target_pitch // into.shape[1]
        self.cuda.copy_rows_on_device(
            into.address + start * column,
            target_pitch,
            out.address + first * column,
            source_pitch,
            count * column,
            rows,
            stream.handle,
        )

    def synchronise(self) -> None:
        """The host waits for every stream."""
        for stream in self._streams.values():
            stream.synchronise()

    def _stream_of(self, array: CudaArray) -> CudaStream:
        if array.block.stream is None:
            array.block.stream = self.stream()
        return array.block.stream

    def _mirrored(self, array: CudaArray) -> HostArray:
        block = array.block
        if block.mirror is None:
            block.mirror = self.cuda.allocate_pinned(block.size_bytes)
            weakref.finalize(block, self.cuda.free_pinned, block.mirror)
        part: HostArray = block.mirror[array.offset : array.offset + array.nbytes].view(array.dtype)
        return part.reshape(array.shape)

    def _mirror_address(self, array: CudaArray) -> int:
        assert array.block.mirror is not None
        return int(array.block.mirror.ctypes.data) + array.offset


def cuda_device(device: Device) -> CudaDevice:
    """The CudaDevice a Device is."""
    assert isinstance(device, CudaDevice), f"got {type(device).__name__}, expected CUDA memory"
    return device
