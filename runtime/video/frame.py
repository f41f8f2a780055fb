"""One picture of a video."""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from glus_edge.runtime.errors import InputError
from glus_edge.runtime.video.picture import DevicePicture, Picture


class FrameSize(NamedTuple):
    """Size of a picture as it is shown, that is after rotation."""

    height: int  # pixels
    width: int  # pixels


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a video, turned the way it is shown."""

    index: int  # position in the video, from 0
    time: float  # seconds since the video's first frame
    picture: Picture  # uint8 [H, W, 3], RGB: a numpy array, or CUDA memory
    pixel_aspect: Fraction = field(default=Fraction(1), kw_only=True)  # width of a pixel as it is shown by its height

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """[H, W, 3], on the host. InputError: the picture lies in CUDA memory, and is not copied for it."""
        if isinstance(self.picture, DevicePicture):
            raise InputError(
                f"frame {self.index}: got a picture in CUDA memory, expected one in main memory, where overlays are drawn "
                "and colours compared; choose another refresh rule, or copy the frame to main memory"
            )
        return self.picture

    @property
    def size(self) -> FrameSize:
        """Height and width in pixels."""
        if isinstance(self.picture, DevicePicture):
            return FrameSize(self.picture.height, self.picture.width)
        return FrameSize(self.picture.shape[0], self.picture.shape[1])
