"""A video that tells how long each frame took to decode, in whichever thread that was."""

import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np

from glus_edge.benchmarks.profiler.memory_owners import DECODED, MemoryOwners
from glus_edge.benchmarks.profiler.trace import Trace
from glus_edge.runtime.video.frame import Frame
from glus_edge.runtime.video.gap import Gap
from glus_edge.runtime.video.video import Video


class TimedVideo:
    """See Video. Frames count as memory of DECODED while anybody holds them."""

    def __init__(self, video: Video, owners: MemoryOwners, trace: Trace | None = None) -> None:
        self.path, self.size, self.frame_rate, self.frame_count = (
            video.path,
            video.size,
            video.frame_rate,
            video.frame_count,
        )
        self._video, self._owners, self._trace = video, owners, trace
        self._main = threading.get_ident()
        self._decode_ms: dict[int, float] = {}

    @property
    def stems(self) -> Sequence[str]:
        """See Video."""
        return self._video.stems

    @property
    def truncated(self) -> str | None:
        """See Video."""
        return self._video.truncated

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """See Video."""
        return self._video.gaps

    def read(self, index: int) -> Frame:
        """See Video."""
        begin = time.perf_counter()
        frame = self._video.read(index)
        return self._decoded(frame, begin)

    def frames(self, start: int = 0, stop: int | None = None, step: int = 1) -> Iterator[Frame]:
        """See Video. In the trace of a thread that decodes ahead, the time between two frames is a wait for its reader."""
        frames = self._video.frames(start, stop, step)
        while True:
            begin = time.perf_counter()
            frame = next(frames, None)
            if frame is None:
                return
            yield self._decoded(frame, begin)
            if self._trace is not None and threading.get_ident() != self._main:
                self._trace.span("wait: pixels, and room in the queue", "wait", self._handed, time.perf_counter())

    def decode_ms(self, index: int) -> float:
        """Of a frame that was decoded; it is forgotten then."""
        return self._decode_ms.pop(index, 0.0)

    def close(self) -> None:
        """Lets go of the video."""
        self._video.close()

    def _decoded(self, frame: Frame, begin: float) -> Frame:
        self._handed = time.perf_counter()
        self._decode_ms[frame.index] = 1e3 * (self._handed - begin)
        if isinstance(frame.picture, np.ndarray):
            self._owners.add(DECODED, frame.picture)
        if self._trace is not None and threading.get_ident() != self._main:
            self._trace.span("decode", "stage", begin, self._handed)
        return frame
