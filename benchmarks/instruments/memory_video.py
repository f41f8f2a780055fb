"""Videos that are no file: frames in memory, and a video that begins again when it ends."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glus_edge.runtime.video.frame import Frame, FrameSize
from glus_edge.runtime.video.gap import Gap
from glus_edge.runtime.video.video import Video

FRAME_RATE = Fraction(10)  # frames per second; nothing here depends on it


class MemoryVideo:
    """Frames uint8 [F, H, W, 3], RGB, as a Video."""

    frame_rate = FRAME_RATE
    truncated: str | None = None
    gaps: tuple[Gap, ...] = ()

    def __init__(self, name: str, frames: NDArray[np.uint8]) -> None:
        self.path = Path(name)
        self._frames = frames
        self.frame_count = len(frames)
        self.size = FrameSize(frames.shape[1], frames.shape[2])
        self.stems: Sequence[str] = tuple(f"{index:05d}" for index in range(len(frames)))

    def read(self, index: int) -> Frame:
        """See Video."""
        return Frame(index, float(index / FRAME_RATE), self._frames[range(self.frame_count)[index]])

    def frames(self, start: int = 0, stop: int | None = None, step: int = 1) -> Iterator[Frame]:
        """See Video."""
        for index in range(start, self.frame_count if stop is None else stop, step):
            yield self.read(index)

    def close(self) -> None:
        """Nothing is held open."""


class LoopedVideo:
    """A video that goes on from its first frame after its last, for as many frames as wanted."""

    truncated: str | None = None
    gaps: tuple[Gap, ...] = ()

    def __init__(self, video: Video, frame_count: int) -> None:
        self.path, self.size, self.frame_rate = video.path, video.size, video.frame_rate
        self.frame_count = frame_count
        self._video = video

    @property
    def stems(self) -> Sequence[str]:
        """See Video."""
        return tuple(f"{index:05d}" for index in range(self.frame_count))

    def read(self, index: int) -> Frame:
        """See Video."""
        return self._renumbered(self._video.read(index % self._video.frame_count), index)

    def frames(self, start: int = 0, stop: int | None = None, step: int = 1) -> Iterator[Frame]:
        """Frames range(start, stop), each round decoded anew. ValueError: `step` is not 1."""
        if step != 1:
            raise ValueError(f"step: got {step}, expected 1: a looped video runs forwards")
        index, stop = start, self.frame_count if stop is None else stop
        while index < stop:
            for frame in self._video.frames(index % self._video.frame_count):
                yield self._renumbered(frame, index)
                index += 1
                if index == stop:
                    return

    def close(self) -> None:
        """Lets go of the video."""
        self._video.close()

    def _renumbered(self, frame: Frame, index: int) -> Frame:
        return Frame(index, float(index / self.frame_rate), frame.rgb, pixel_aspect=frame.pixel_aspect)
