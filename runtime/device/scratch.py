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
