"""Who holds how much memory: every array that the loop allocates, by the file that asked for it, and decoded frames."""

import sys
import threading
import weakref
from collections import Counter
from types import FrameType
from typing import Any

import numpy as np

from glus_edge.runtime.device.device import Array, Device, HostArray

_PACKAGE = "glus_edge.runtime."
OWNERS = {
    "language.language_model": "key/value cache",
    "language.shared_prefix": "key/value cache",
    "language.prompt_inputs": "prompt",
    "language.image_tokens": "image tokens",
    "tracking.image_features": "image features",
    "tracking.mask_tracker": "memory slots",
    "language.segment_embeddings": "segment embeddings",
    "pixels.tower_inputs": "pixels",
}
DECODED = "decoded frames"


class MemoryOwners:
    """Bytes by owner, of arrays that are still alive."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a finalizer may run while its own thread holds it
        self._bytes: Counter[str] = Counter()

    def add(self, owner: str, array: Array) -> None:
        """Counts an array until nobody holds it any more."""
        size = array.nbytes
        with self._lock:
            self._bytes[owner] += size
        weakref.finalize(array, self._drop, owner, size).atexit = False

    def bytes(self) -> dict[str, int]:
        """Now."""
        with self._lock:
            return {owner: size for owner, size in sorted(self._bytes.items()) if size}

    def _drop(self, owner: str, size: int) -> None:
        with self._lock:
            self._bytes[owner] -= size


class OwnedDevice:
    """A device whose arrays are counted. See Device."""

    def __init__(self, device: Device, owners: MemoryOwners) -> None:
        self._device, self._owners = device, owners

    @property
    def concurrent(self) -> bool:
        """See Device."""
        return self._device.concurrent

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any] | str) -> Array:
        """See Device."""
        array = self._device.empty(shape, dtype)
        self._owners.add(_caller(), array)
        return array

    def zeros(self, shape: tuple[int, ...], dtype: np.dtype[Any] | str) -> Array:
        """See Device."""
        array = self._device.zeros(shape, dtype)
        self._owners.add(_caller(), array)
        return array

    def write(self, target: Array, source: HostArray) -> None:
        """See Device."""
        self._device.write(target, source)

    def read(self, source: Array) -> HostArray:
        """See Device."""
        return self._device.read(source)

    def copy(self, target: Array, source: Array) -> None:
        """See Device."""
        self._device.copy(target, source)

    def __getattr__(self, name: str) -> Any:
        """What one kind of device has beyond the others."""
        return getattr(self._device, name)


def _caller() -> str:
    """The owner that the nearest calling file stands for; 'other' where none does. Only asked when something is allocated."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        owner = OWNERS.get(str(frame.f_globals.get("__name__", "")).removeprefix(_PACKAGE))
        if owner is not None:
            return owner
        frame = frame.f_back
    return "other"
