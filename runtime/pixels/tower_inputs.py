"""Where the pixels of both image towers are made: on the host, or on the device from a frame that is uploaded as bytes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from glus_edge.runtime.backends.engine import Engine
from glus_edge.runtime.bundle.manifest import ImageSettings
from glus_edge.runtime.device.cuda_array import CudaArray
from glus_edge.runtime.device.cuda_device import CudaDevice, cuda_device
from glus_edge.runtime.device.cuda_stream import StreamMark
from glus_edge.runtime.device.device import ALIGNMENT, Array, Device
from glus_edge.runtime.pixels.preprocess import centre_crop, clip_pixels, sam_pixels
from glus_edge.runtime.pixels.resize_weights import bicubic, fixed_point_digits, sam_weights
from glus_edge.runtime.video.frame import Frame, FrameSize
from glus_edge.runtime.video.picture import DevicePicture, Picture, picture_from


@dataclass(frozen=True, eq=False)
class PreparedFrame(Frame):
    """A frame whose pixels were made before its turn."""

    clip_pixels: NDArray[np.float32] | None  # [3, S, S], CLIP's input; None: it may not be asked about
    sam_pixels: NDArray[np.float32]  # [3, S, S], SAM 2's input


class TowerInputs(Protocol):
    """Writes the input of an image tower, [1, 3, S, S] float32, for a frame."""

    def clip(self, frame: Frame, target: Array) -> None:
        """CLIP's."""

    def sam(self, frame: Frame, target: Array) -> None:
        """SAM 2's."""

    def prepared(self, frame: Frame, asked: bool) -> Frame:
        """The frame with what can be made of it beside the engines; CLIP's input only if it is sure to be asked about."""

    def picture(self, source: object) -> Picture:
        """A frame's picture, from wherever these pixels can be made of. InputError: from nowhere they can."""

    def wait_until_read(self) -> None:
        """Returns when no frame in device memory is read any more."""

    def close(self) -> None:
        """Releases what makes them."""


class HostTowerInputs:
    """Made by Pillow, OpenCV and numpy, then uploaded. See TowerInputs."""

    def __init__(self, device: Device, clip: ImageSettings, sam: ImageSettings) -> None:
        self._device, self._clip, self._sam = device, clip, sam

    def clip(self, frame: Frame, target: Array) -> None:
        """See TowerInputs."""
        made = frame.clip_pixels if isinstance(frame, PreparedFrame) else None
        self._device.write(target[0], clip_pixels(frame.rgb, self._clip) if made is None else made)

    def sam(self, frame: Frame, target: Array) -> None:
        """See TowerInputs."""
        pixels = frame.sam_pixels if isinstance(frame, PreparedFrame) else sam_pixels(frame.rgb, self._sam)
        self._device.write(target[0], pixels)

    def prepared(self, frame: Frame, asked: bool) -> Frame:
        """See TowerInputs."""
        clip = clip_pixels(frame.rgb, self._clip) if asked else None
        return PreparedFrame(frame.index, frame.time, frame.picture, clip, sam_pixels(frame.rgb, self._sam))

    def picture(self, source: object) -> Picture:
        """See TowerInputs."""
        return picture_from(source, None)

    def wait_until_read(self) -> None:
        """Reads no device memory."""

    def close(self) -> None:
        """Holds nothing."""


class DeviceTowerInputs:
    """Made by two engines. What depends on the frame's size alone is uploaded when the size changes. See TowerInputs."""

    def __init__(self, clip: Engine, sam: Engine, clip_image: ImageSettings, sam_image: ImageSettings) -> None:
        # a buffer for each: the two engines run on different streams, and would wait for each other's
        self._clip, self._sam = _Tower(clip, "clip_pixels", clip_image), _Tower(sam, "sam_pixels", sam_image)

    def clip(self, frame: Frame, target: Array) -> None:
        """See TowerInputs."""
        self._clip.make(frame, target, clip_weights)

    def sam(self, frame: Frame, target: Array) -> None:
        """See TowerInputs."""
        self._sam.make(frame, target, sam_matrices)

    def prepared(self, frame: Frame, asked: bool) -> Frame:
        """The device makes pixels faster than the host: see TowerInputs."""
        return frame

    def picture(self, source: object) -> Picture:
        """See TowerInputs."""
        return picture_from(source, cuda_device(self._clip.engine.device))

    def wait_until_read(self) -> None:
        """See TowerInputs."""
        self._clip.wait_until_read()
        self._sam.wait_until_read()

    def close(self) -> None:
        """Releases both engines."""
        self._clip.close()
        self._sam.close()


class ResizeWeights(NamedTuple):
    """What resizes frames of one size."""

    rows: NDArray[np.float32]
    columns: NDArray[np.float32]


def clip_weights(size: FrameSize, side: int) -> ResizeWeights:
    """Digits [3, 1, side, H] and [3, 1, W, side] of CLIP's resize and centre crop; see preprocess.clip_pixels."""
    rows, columns = (
        fixed_point_digits(bicubic(source, target, range(first, first + side)))
        for source, (target, first) in zip(size, centre_crop(size, side), strict=True)
    )
    return ResizeWeights(rows[:, None], np.ascontiguousarray(columns.transpose(0, 2, 1))[:, None])


def sam_matrices(size: FrameSize, side: int) -> ResizeWeights:
    """[side, H] and [W, side] of SAM 2's resize; see preprocess.sam_pixels."""
    return ResizeWeights(sam_weights(size.height, side), np.ascontiguousarray(sam_weights(size.width, side).T))


class _Tower:
    """One tower's engine and its buffers."""

    def __init__(self, engine: Engine, output: str, settings: ImageSettings) -> None:
        self.engine, self._output, self._side = engine, output, settings.size
        self._size: FrameSize | None = None
        self._fixed = {name: getattr(settings, name) for name in ("mean", "std")}
        self._inputs: dict[str, Array] = {}  # all but the picture; they follow from its size
        self._buffer: Array | None = None  # of pictures that cannot be read where they are
        self._read: tuple[CudaArray, StreamMark] | None = None  # another library's memory, and the end of its last use

    def make(self, frame: Frame, target: Array, weights: Any) -> None:
        device = self.engine.device
        if frame.size != self._size:
            made = weights(frame.size, self._side)._asdict()
            made |= {name: np.array(values, np.float32).reshape(3, 1, 1) for name, values in self._fixed.items()}
            # together or not at all: device memory may run out
            self._inputs, self._buffer = {name: _uploaded(device, values) for name, values in made.items()}, None
            self._size = frame.size
        outputs: Mapping[str, Array] = {self._output: target}
        if not isinstance(frame.picture, DevicePicture):
            buffer = self._copied(frame.size)
            device.write(buffer, frame.picture)
            self.engine.run({**self._inputs, "rgb": buffer}, outputs)
            return
        self.wait_until_read()
        rgb, source = self._placed(frame.picture, cuda_device(device))
        self.engine.run({**self._inputs, "rgb": rgb}, outputs)
        self._read = source, cuda_device(device).mark(source)

    def wait_until_read(self) -> None:
        if self._read is not None:
            self._read[1].wait()
            self._read = None

    def close(self) -> None:
        self.wait_until_read()
        self.engine.close()
        self._inputs, self._buffer, self._size = {}, None, None

    def _placed(self, picture: DevicePicture, device: CudaDevice) -> tuple[Array, CudaArray]:
        """The picture where the engine can read it, dense and aligned; and the memory it came from.

        An array for each tower: of one array the two would wait for each other.
        """
        shape = (picture.height, picture.width, 3)
        if picture.dense and picture.address % ALIGNMENT == 0:
            source = device.adopt(picture.address, shape, "uint8", picture.owner)
            return source, source
        size = (picture.height - 1) * picture.pitch + 3 * picture.width
        source = device.adopt(picture.address, (size,), "uint8", picture.owner)
        buffer = self._copied(FrameSize(picture.height, picture.width))
        device.copy_rows(buffer, source, picture.pitch)
        return buffer, source

    def _copied(self, size: FrameSize) -> Array:
        if self._buffer is None:
            self._buffer = self.engine.device.empty((*size, 3), "uint8")
        return self._buffer


def _uploaded(device: Device, values: NDArray[np.float32]) -> Array:
    array = device.empty(values.shape, values.dtype)
    device.write(array, values)
    return array
