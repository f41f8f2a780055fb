"""One picture of a video."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class FrameSize(NamedTuple):
    """Size of a picture as it is shown, that is after rotation."""

    height: int  # pixels
    width: int  # pixels


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a video, upright."""

    index: int  # position in the video, from 0
    time: float  # seconds since the video's first frame
    rgb: NDArray[np.uint8]  # [H, W, 3]

    @property
    def size(self) -> FrameSize:
        """Height and width in pixels."""
        return FrameSize(self.rgb.shape[0], self.rgb.shape[1])
