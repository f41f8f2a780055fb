"""A block allocated once and seen in whatever shape a step needs: nothing is allocated while a video runs."""

import math
from typing import Any

import numpy as np

from glus_edge.runtime.device.device import Array, Device


class Scratch:
    """At most `capacity` elements of one dtype on a device. Every view starts at the block's beginning."""

    def __init__(self, device: Device, capacity: int, dtype: np.dtype[Any] | str) -> None:
        self._device = device
        self._block = device.empty((max(1, capacity),), dtype)

    def view(self, *shape: int) -> Array:
        """A view of this shape, valid until the next call; contents are whatever was written before."""
        size = math.prod(shape)
        assert size <= self._block.shape[0], f"scratch: got {shape}, expected at most {self._block.shape[0]} elements"
        array: Array = self._block[:size].reshape(shape)
        return array

    def holding(self, values: np.ndarray[Any, Any]) -> Array:
        """A view of `values`' shape with `values` written to it."""
        target = self.view(*values.shape)
        self._device.write(target, values)
        return target


class GrowingScratch:
    """As Scratch, but its block grows with the largest view: for what only some runs need much of."""

    def __init__(self, device: Device, dtype: np.dtype[Any] | str) -> None:
        self._device, self._dtype = device, dtype
        self._block: Array | None = None

    def view(self, *shape: int) -> Array:
        """See Scratch. The block moves when it grows."""
        size = math.prod(shape)
        if self._block is None or self._block.shape[0] < size:
            self._block = None  # before there is a larger one: both need not fit
            self._block = self._device.empty((size,), self._dtype)
        array: Array = self._block[:size].reshape(shape)
        return array
