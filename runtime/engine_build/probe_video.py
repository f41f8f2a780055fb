"""A short clip made on the spot: what engines are compared on where no video is given."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from glus_edge.runtime.video.frame import Frame, FrameSize

SENTENCE = "the red disc that moves to the right"
_SIZE = FrameSize(240, 320)


class ProbeVideo:
    """A red disc crossing a textured field; the same bytes everywhere. See glus_edge.runtime.video.video.Video."""

    path = Path("gate-clip")
    size = _SIZE
    frame_rate = Fraction(10)
    truncated = None
    gaps = ()

    def __init__(self, frame_count: int) -> None:
        self.frame_count = frame_count
        self.stems = [f"{index:05d}" for index in range(frame_count)]

    def read(self, index: int) -> Frame:
        """See Video."""
        if not 0 <= index < self.frame_count:
            raise IndexError(f"frame {index}: got a clip of {self.frame_count}")
        rows, columns = np.mgrid[: _SIZE.height, : _SIZE.width]
        texture = 110 + 50 * np.sin(rows / 11) * np.cos(columns / 17)
        rgb = np.stack([texture, texture * 0.9 + 20, texture * 0.7 + 40], axis=-1)
        centre = 60 + 200 * index / max(1, self.frame_count - 1)
        rgb[(rows - 130) ** 2 + (columns - centre) ** 2 < 40**2] = (210, 40, 30)
        return Frame(index, index / 10, rgb.astype(np.uint8))

    def frames(self, start: int = 0, stop: int | None = None, step: int = 1) -> Iterator[Frame]:
        """See Video."""
        end = self.frame_count if stop is None else stop
        return (self.read(index) for index in range(start, end, step))

    def close(self) -> None:
        """Nothing is open."""
