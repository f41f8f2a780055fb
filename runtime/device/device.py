"""Where an engine's tensors live. The loop allocates and copies through `Device` and never names a backend."""

import math
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

ALIGNMENT = 256  # bytes; TensorRT requires it of every tensor address

HostArray: TypeAlias = NDArray[Any]


class Array(Protocol):
    """A dense, C-contiguous block on a device. Slices of leading dimensions share its memory."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the dimensions."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type."""

    @property
    def nbytes(self) -> int:
        """Size in bytes."""

    def __getitem__(self, index: Any, /) -> Any:
        """A view: integers and slices of leading dimensions only."""

    def reshape(self, shape: tuple[int, ...], /) -> Any:
        """A view of another shape and the same size."""


class Device(Protocol):
    """Allocates and moves arrays."""

    @property
    def concurrent(self) -> bool:
        """Whether engines run beside the host and beside each other: `run` returns before they are done."""

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any] | str) -> Array:
        """A new block, aligned to ALIGNMENT bytes, contents undefined."""

    def zeros(self, shape: tuple[int, ...], dtype: np.dtype[Any] | str) -> Array:
        """A new block of zeros: for what may be read, masked, before it is written, and must not be NaN."""

    def write(self, target: Array, source: HostArray) -> None:
        """Host to device; shapes agree, the dtype is converted to the target's."""

    def read(self, source: Array) -> HostArray:
        """Device to host; on the host device a view, valid until the array is written again."""

    def copy(self, target: Array, source: Array) -> None:
        """Device to device; shapes broadcast along leading dimensions of size 1."""

    def copy_columns(self, target: Array, start: int, source: Array, first: int, count: int) -> None:
        """Device to device: target[:, start : start + count] becomes source[:, first : first + count]."""


class HostDevice:
    """Main memory: arrays are numpy arrays."""

    concurrent = False

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any] | str) -> HostArray:
        """See Device."""
        kind = np.dtype(dtype)
        size = math.prod(shape) * kind.itemsize
        block = np.empty(size + ALIGNMENT, np.uint8)
        offset = -block.ctypes.data % ALIGNMENT
        return block[offset : offset + size].view(kind).reshape(shape)

    def zeros(self, shape: tuple[int, ...], dtype: np.dtype[Any] | str) -> HostArray:
        """See Device."""
        block = self.empty(shape, dtype)
        block[...] = 0
        return block

    def write(self, target: Array, source: HostArray) -> None:
        """See Device."""
        np.copyto(host_array(target), source, casting="same_kind")

    def read(self, source: Array) -> HostArray:
        """See Device."""
        return host_array(source)

    def copy(self, target: Array, source: Array) -> None:
        """See Device."""
        np.copyto(host_array(target), host_array(source), casting="no")

    def copy_columns(self, target: Array, start: int, source: Array, first: int, count: int) -> None:
        """See Device."""
        into, out = host_array(target), host_array(source)
        check_columns(into, start, out, first, count)
        into[:, start : start + count] = out[:, first : first + count]


def check_columns(target: Array, start: int, source: Array, first: int, count: int) -> None:
    """What does not fit is our own bug: AssertionError."""
    assert target.dtype == source.dtype, f"got {source.dtype}, expected {target.dtype}"
    assert (target.shape[0], *target.shape[2:]) == (source.shape[0], *source.shape[2:]), (
        f"{source.shape}, {target.shape}"
    )
    assert 0 <= start <= start + count <= target.shape[1], f"got {start} + {count}, expected at most {target.shape[1]}"
    assert 0 <= first <= first + count <= source.shape[1], f"got {first} + {count}, expected at most {source.shape[1]}"


def host_array(array: Array) -> HostArray:
    """The numpy array an Array of the host device is."""
    assert isinstance(array, np.ndarray), f"got {type(array).__name__}, expected an array in main memory"
    return array
