"""Arrays in CUDA memory: dense blocks, and views of them."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glus_edge.runtime.device.cuda_stream import CudaStream
from glus_edge.runtime.device.device import Array


class CudaBlock:
    """One allocation and its page-locked mirror, made when the host first writes or reads it."""

    def __init__(self, address: int, size_bytes: int, owner: object = None) -> None:
        self.address = address
        self.size_bytes = size_bytes
        self.stream: CudaStream | None = None  # the last that used it
        self.mirror: NDArray[np.uint8] | None = None
        self.unsent: list[tuple[int, int]] = []  # byte ranges of the mirror that a copy may still be reading
        self.sent: int | None = None  # event behind the last of those copies
        self._owner = owner  # of memory that is not ours: kept alive


class CudaArray:
    """A dense block of device memory. Integers and slices of leading dimensions give views of the same memory."""

    def __init__(self, block: CudaBlock, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.block, self.offset, self.shape, self.dtype = block, offset, shape, dtype

    @property
    def address(self) -> int:
        """Device address of the first element; a real address for an array of no elements too."""
        return self.block.address + self.offset

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """So that torch, CuPy and others see it without a copy, behind the stream that used it last."""
        data = (self.address if self.nbytes else 0, False)
        stream = None if self.block.stream is None else self.block.stream.handle
        return {"shape": self.shape, "typestr": self.dtype.str, "data": data, "stream": stream, "version": 3}

    def __getitem__(self, index: int | slice | tuple[int | slice, ...]) -> "CudaArray":
        """A view. IndexError or AssertionError: not a dense range of leading dimensions."""
        indices = index if isinstance(index, tuple) else (index,)
        shape, offset = list(self.shape), self.offset
        sliced: list[int] = []
        stride = self.nbytes
        for dimension, item in enumerate(indices):
            assert not sliced, f"index {index!r}: got more after a slice, expected integers and then at most one slice"
            size = shape[dimension]
            stride = math.prod(shape[dimension + 1 :]) * self.dtype.itemsize
            if isinstance(item, slice):
                start, stop, step = item.indices(size)
                assert step == 1, f"index {index!r}: got step {step}, expected 1"
                sliced.append(max(0, stop - start))
                offset += start * stride
            else:
                place = item + size if item < 0 else item
                if not 0 <= place < size:
                    raise IndexError(f"index {item}: got a dimension of {size}")
                offset += place * stride
        return CudaArray(self.block, offset, (*sliced, *shape[len(indices) :]), self.dtype)

    def reshape(self, shape: tuple[int, ...]) -> "CudaArray":
        """A view of another shape and the same size."""
        assert math.prod(shape) == math.prod(self.shape), f"{self.shape} -> {shape}"
        return CudaArray(self.block, self.offset, tuple(shape), self.dtype)


def cuda_array(array: Array) -> CudaArray:
    """The CudaArray an Array of a CUDA device is."""
    assert isinstance(array, CudaArray), f"got {type(array).__name__}, expected an array in CUDA memory"
    return array
