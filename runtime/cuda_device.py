"""CUDA memory as the loop's device: arrays, copies in stream order, and who may touch what when.

Engines run on streams of their own. An allocation remembers the stream that used it last; a stream that touches it next
first waits for that one. So engines that share no memory overlap, and those that do come one after the other, without
the loop saying so and without the host waiting.
"""

import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glus_edge.runtime.cuda import Cuda
from glus_edge.runtime.device import ALIGNMENT, Array, HostArray

MAIN = "main"  # stream of whatever no engine has used yet


class CudaStream:
    """A stream and the event others wait for."""

    def __init__(self, cuda: Cuda, name: str) -> None:
        self.name = name
        self.handle = cuda.create_stream()
        self._cuda = cuda
        self._event = cuda.create_event()
        self._release = weakref.finalize(self, _release_stream, cuda, self.handle, self._event)

    def wait_for(self, other: "CudaStream") -> None:
        """What is enqueued here from now on comes after all that is enqueued there now."""
        self._cuda.record(other._event, other.handle)
        self._cuda.wait(self.handle, other._event)

    def synchronise(self) -> None:
        """The host waits until the stream is idle."""
        self._cuda.synchronise(self.handle)


class Block:
    """One allocation and its page-locked mirror, made when the host first writes or reads it."""

    def __init__(self, address: int, size_bytes: int, owner: object = None) -> None:
        self.address = address
        self.size_bytes = size_bytes
        self.stream: CudaStream | None = None  # the last that used it
        self.mirror: NDArray[np.uint8] | None = None
        self.unsent: list[tuple[int, int]] = []  # byte ranges of the mirror that a copy may still be reading
        self.sent: int | None = None  # event behind the last of those copies
        self._owner = owner  # of memory that is not ours: kept alive


@dataclass
class Copies:
    """Copies made since the device was opened or `clear` was called: number and bytes of each direction."""

    to_device: int = 0
    to_device_bytes: int = 0
    to_host: int = 0
    to_host_bytes: int = 0
    on_device: int = 0
    on_device_bytes: int = 0

    def clear(self) -> None:
        """Starts again from nothing."""
        self.__init__()  # type: ignore[misc]


class CudaArray:
    """A dense block of device memory. Integers and slices of leading dimensions give views of the same memory."""

    def __init__(self, block: Block, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.block, self.offset, self.shape, self.dtype = block, offset, shape, dtype

    @property
    def address(self) -> int:
        """Device address of the first element; a real address for an array of no elements too."""
        return self.block.address + self.offset

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """So that torch, CuPy and others see it without a copy; its stream must be synchronised first."""
        return {"shape": self.shape, "typestr": self.dtype.str, "data": (self.address, False), "version": 3}

    def __getitem__(self, index: int | slice | tuple[int | slice, ...]) -> "CudaArray":
        """A view. IndexError or AssertionError: not a dense range of leading dimensions."""
        indices = index if isinstance(index, tuple) else (index,)
        shape, offset = list(self.shape), self.offset
        kept: list[int] = []
        stride = self.nbytes
        for dimension, item in enumerate(indices):
            assert not kept, f"index {index!r}: got more after a slice, expected integers and then at most one slice"
            size = shape[dimension]
            stride = int(np.prod(shape[dimension + 1 :], dtype=np.int64)) * self.dtype.itemsize
            if isinstance(item, slice):
                start, stop, step = item.indices(size)
                assert step == 1, f"index {index!r}: got step {step}, expected 1"
                kept.append(max(0, stop - start))
                offset += start * stride
            else:
                place = item + size if item < 0 else item
                if not 0 <= place < size:
                    raise IndexError(f"index {item}: got a dimension of {size}")
                offset += place * stride
        return CudaArray(self.block, offset, (*kept, *shape[len(indices) :]), self.dtype)

    def reshape(self, shape: tuple[int, ...]) -> "CudaArray":
        """A view of another shape and the same size."""
        assert np.prod(shape, dtype=np.int64) == np.prod(self.shape, dtype=np.int64), f"{self.shape} -> {shape}"
        return CudaArray(self.block, self.offset, tuple(shape), self.dtype)


class CudaDevice:
    """See glus_edge.runtime.device.Device. Memory is given back when the last view of it is gone."""

    concurrent = True

    def __init__(self, cuda: Cuda) -> None:
        self.cuda = cuda
        self.copies = Copies()
        self._streams: dict[str, CudaStream] = {}

    def stream(self, name: str = MAIN) -> CudaStream:
        """The stream of this name, made when first asked for."""
        if name not in self._streams:
            self._streams[name] = CudaStream(self.cuda, name)
        return self._streams[name]

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
        size = max(ALIGNMENT, int(np.prod(shape, dtype=np.int64)) * kind.itemsize)
        address = self.cuda.allocate(size)
        assert address % ALIGNMENT == 0, f"device memory at {address:#x}, expected a multiple of {ALIGNMENT}"
        block = Block(address, size)
        weakref.finalize(block, self.cuda.free, address)
        return CudaArray(block, 0, tuple(shape), kind)

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
        self.copies.to_device += 1
        self.copies.to_device_bytes += array.nbytes

    def read(self, source: Array) -> HostArray:
        """See Device. Waits for the array's stream; the view is of pinned memory."""
        array = cuda_array(source)
        mirrored = self._mirrored(array)
        if array.nbytes:
            stream = self._stream_of(array)
            self.cuda.copy_to_host(self._mirror_address(array), array.address, array.nbytes, stream.handle)
            stream.synchronise()
            array.block.unsent.clear()
            self.copies.to_host += 1
            self.copies.to_host_bytes += array.nbytes
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
        self.copies.on_device += 1
        self.copies.on_device_bytes += into.nbytes

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


def cuda_array(array: Array) -> CudaArray:
    """The CudaArray an Array of a CUDA device is."""
    assert isinstance(array, CudaArray), f"got {type(array).__name__}, expected an array in CUDA memory"
    return array


def _release_stream(cuda: Cuda, stream: int, event: int) -> None:
    cuda.destroy_event(event)
    cuda.destroy_stream(stream)
