"""The picture of a frame, wherever it lies: a numpy array, or CUDA memory of another library, which is not copied.

CUDA memory comes through DLPack or the CUDA Array Interface
(https://nvidia.github.io/numba-cuda/user/cuda_array_interface.html).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from glus_edge.runtime.device import dlpack
from glus_edge.runtime.device.cuda_device import CudaDevice
from glus_edge.runtime.errors import InputError

_WANTED = "expected uint8 [H, W, 3], RGB"
_LEGACY_DEFAULT_STREAM = 1
_STREAM_VERSION = 3  # of the CUDA Array Interface: the first that names a stream
_DEVICE = 0  # the one all engines run on


@dataclass(frozen=True, eq=False)
class DevicePicture:
    """uint8 [H, W, 3], RGB, in CUDA memory that is not ours: only read."""

    address: int  # of the first pixel
    height: int  # pixels
    width: int  # pixels
    pitch: int  # bytes from one row to the next, at least 3 * width
    owner: object  # keeps the memory

    @property
    def dense(self) -> bool:
        """Whether rows follow each other without a gap."""
        return self.pitch == 3 * self.width


Picture: TypeAlias = NDArray[np.uint8] | DevicePicture


def picture_from(source: object, device: CudaDevice | None) -> Picture:
    """The picture of a numpy array, or of any object with `__dlpack__` or `__cuda_array_interface__`; nothing is copied.

    `device` is where CUDA memory is read, behind what its producer has enqueued; None: it cannot be read here.
    Errors: InputError for another type, shape, layout or device.
    """
    if isinstance(source, np.ndarray):
        return _host_picture(source)
    # DLPack first: torch's CUDA Array Interface does not name the stream its data is ready on.
    if hasattr(source, "__dlpack_device__"):
        return _from_dlpack(source, device)
    interface = getattr(source, "__cuda_array_interface__", None)
    if interface is None:
        raise InputError(f"frame: got {type(source).__name__}, {_WANTED}")
    return _from_cuda_array(interface, source, _cuda(device))


def row_pitch(shape: Sequence[int], strides: Sequence[int] | None) -> int:
    """Bytes from one row to the next of a uint8 picture, given its strides in bytes (None: dense).

    InputError: not [H, W, 3], or pixels within a row are not dense.
    """
    if len(shape) != 3 or shape[2] != 3 or min(shape) < 1:
        raise InputError(f"frame: got uint8 {list(shape)}, {_WANTED}")
    height, width, _ = shape
    if strides is None:
        return 3 * width
    if len(strides) != 3:
        raise InputError(f"frame: got strides {list(strides)} of shape {list(shape)}, {_WANTED}")
    rows, pixels, channels = strides
    # the stride of a dimension of one element means nothing
    if channels != 1 or (width > 1 and pixels != 3) or (height > 1 and rows < 3 * width):
        raise InputError(
            f"frame: got strides {list(strides)} bytes, expected [at least {3 * width}, 3, 1]: rows from top to bottom, "
            "channels last; make it contiguous first"
        )
    return rows if height > 1 else 3 * width


def _host_picture(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise InputError(f"frame: got {array.dtype} {list(array.shape)}, {_WANTED}")
    return array


def _from_dlpack(source: Any, device: CudaDevice | None) -> Picture:
    kind, number = (int(part) for part in source.__dlpack_device__())
    if kind in (dlpack.CPU, dlpack.CUDA_HOST):
        try:
            return _host_picture(np.from_dlpack(source))
        except (BufferError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(f"frame: got {' '.join(str(error).split())[:200]} from DLPack, {_WANTED}") from error
    if kind not in (dlpack.CUDA, dlpack.CUDA_MANAGED):
        raise InputError(f"frame: got DLPack device kind {kind}, expected 1 (main memory) or 2 (CUDA)")
    device = _cuda(device)
    _check_device(number)
    found = dlpack.bytes_of(source, device.foreign_stream)
    return _device_picture(found.address, found.shape, found.strides, found.owner)


def _from_cuda_array(interface: Any, source: object, device: CudaDevice) -> DevicePicture:
    if not isinstance(interface, Mapping):
        raise InputError(f"frame: got a CUDA array interface of {type(interface).__name__}, expected a dictionary")
    try:
        shape, dtype = tuple(map(int, interface["shape"])), np.dtype(interface["typestr"])
        address, version = int(interface["data"][0]), int(interface["version"])
        strides = None if interface.get("strides") is None else tuple(map(int, interface["strides"]))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"frame: got a CUDA array interface without a usable {error}, expected version 3") from error
    if dtype != np.uint8:
        raise InputError(f"frame: got {dtype} {list(shape)}, {_WANTED}")
    if interface.get("mask") is not None:
        raise InputError("frame: got a masked array, expected one without a mask")
    picture = _device_picture(address, shape, strides, source)
    number = device.cuda.memory_device(address)
    if number is None:
        raise InputError(f"frame: got address {address:#x}, which CUDA does not know, expected device memory")
    _check_device(number)
    # before version 3 nothing says where the data is ready; work of the default stream is what such libraries enqueue
    stream = interface.get("stream") if version >= _STREAM_VERSION else _LEGACY_DEFAULT_STREAM
    if stream is not None:
        if not isinstance(stream, int) or stream <= 0:
            raise InputError(f"frame: got stream {stream!r}, expected None, 1, 2 or a stream's handle")
        device.follow(stream)
    return picture


def _device_picture(address: int, shape: Sequence[int], strides: Sequence[int] | None, owner: object) -> DevicePicture:
    pitch = row_pitch(shape, strides)
    if not address:
        raise InputError(f"frame: got the null address for uint8 {list(shape)}, expected device memory")
    return DevicePicture(address, shape[0], shape[1], pitch, owner)


def _cuda(device: CudaDevice | None) -> CudaDevice:
    if device is None:
        raise InputError(
            "frame: got a picture in CUDA memory, expected one in main memory, where pixels are made here; open the "
            "bundle with backend 'tensorrt' and pixels on the device, or copy the frame to main memory"
        )
    return device


def _check_device(number: int) -> None:
    if number != _DEVICE:
        raise InputError(f"frame: got CUDA device {number}, expected device {_DEVICE}, which the engines run on")
