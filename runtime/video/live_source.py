"""Frames as they arrive: a camera, a stream on the network, or a recording played at its own pace."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from glus_edge.runtime.errors import InputError, VideoError
from glus_edge.runtime.video.color_conversion import displayed_rgb
from glus_edge.runtime.video.frame_index import truncation
from glus_edge.runtime.video.video_address import video_address
from glus_edge.runtime.video.video_decoder import VideoDecoder

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 8.0  # between attempts to reach a source that was lost
_LONGEST_STEP_S = 3600.0  # from one frame to the next; a clock that goes further was set, as was one that goes back


@dataclass(frozen=True, eq=False)
class LiveFrame:
    """One frame of a live source."""

    rgb: NDArray[np.uint8]  # [H, W, 3], upright
    number: int  # among all frames the source sent, from 0; what is left out was passed over
    time: float  # seconds since the source's first frame, by the source's clock; where that is set, on by one frame
    arrived: float  # seconds, by the clock of `LiveSource`: when its frame had been decoded


@dataclass(frozen=True, eq=False)
class _Decoded:
    frame: VideoFrame
    number: int
    time: float
    arrived: float


class LiveSource:
    """Iterate it: each item is the newest frame there is; frames that came while you were busy are passed over.

    One frame is held, however long the source runs. Use it as a context manager.
    """

    def __init__(
        self, source: str, *, reconnect_s: float = 0.0, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """`source`: a camera (`0`, `/dev/video0`), an address (`rtsp://...`), or a video file.

        `reconnect_s`: how long a live source that was lost is sought again, since its last frame. Errors:
        InputError for an address of a kind that is not read, VideoError for a source that cannot be opened.
        """
        if not 0 <= reconnect_s < math.inf:
            raise InputError(f"reconnect: got {reconnect_s:g} s, expected 0 or more")
        address = video_address(source)
        self.name, self._endless = address.name, address.endless
        self._clock, self._reconnect_s = clock, reconnect_s
        self._decoder = VideoDecoder(address)
        # What has a length is a recording, wherever it lies; 0 is how servers say that they know none.
        self._own_pace = address.live and not self._decoder.stated_length()
        self.frame_rate = self._decoder.stream.average_rate or Fraction(25)  # as the source says; per second
        self._news = threading.Condition()
        self._newest: _Decoded | None = None
        self._over = False
        self._broken: str | None = None
        self._error: BaseException | None = None
        self._stopped = threading.Event()
        self.seen = 0  # frames that arrived
        self.lost = 0  # times the source was lost and found again
        self._last = clock()  # when the last frame arrived
        self._thread = threading.Thread(target=self._read, name="glus-edge-source", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[LiveFrame]:
        """Until the source ends. VideoError: it broke off."""
        while (arrival := self._next()) is not None:
            yield arrival

    def close(self) -> None:
        """Lets go of the source; one that is waited for is let go when it answers, or after its patience."""
        self._stopped.set()
        self._thread.join(timeout=0.5)

    def __enter__(self) -> "LiveSource":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _next(self) -> LiveFrame | None:
        with self._news:
            self._news.wait_for(lambda: self._newest is not None or self._over)
            newest, self._newest = self._newest, None
        if newest is not None:
            return LiveFrame(displayed_rgb(newest.frame), newest.number, newest.time, newest.arrived)
        if self._error is not None:
            raise self._error
        if self._broken is not None:
            raise VideoError(f"{self._broken}, expected it to go on; check the source and the way to it")
        return None

    def _stamp(self, frame: VideoFrame) -> float | None:
        """Seconds by the source's clock. A frame's own `time` is not known of the last ones a decoder gives."""
        unit = self._decoder.stream.time_base
        return None if frame.pts is None or unit is None else float(frame.pts * unit)

    def _read(self) -> None:
        """In a thread of its own: decodes without pause, so that nothing waits in the source's buffers."""
        try:
            clock = SourceClock(1 / float(self.frame_rate))
            self._follow(clock)
            while self._found_again():
                self._follow(clock)
        except BaseException as error:  # noqa: BLE001 - raised where the next frame is asked for
            self._error = error
        finally:
            with self._news:
                self._over = True
                self._news.notify()
            self._decoder.close()

    def _follow(self, clock: "SourceClock") -> None:
        """Until the source ends, breaks off or is stopped."""
        begin: float | None = None
        for frame in self._decoder.frames():
            seconds = clock.seconds(self._stamp(frame))
            if begin is None:
                begin = self._clock()
            if not self._own_pace:
                self._stopped.wait(max(0.0, begin + seconds - self._clock()))
            if self._stopped.is_set():
                return
            with self._news:
                self._last = self._clock()
                self._newest = _Decoded(frame, self.seen, seconds, self._last)
                self.seen += 1
                self._news.notify()
        self._broken = truncation(self._decoder, self._decoder.damage, self.seen, self.frame_rate)

    def _found_again(self) -> bool:
        """Opens a live source anew, again and again if need be. False: it is not sought, or was not found in time."""
        if not self._own_pace or not (self._endless or self._broken):
            return False
        wait = _FIRST_WAIT_S
        while self._clock() - self._last < self._reconnect_s and not self._stopped.wait(wait):
            wait = min(2 * wait, _LONGEST_WAIT_S)
            with suppress(VideoError):  # it is not there yet; what is said in the end is how it was lost
                self._decoder.rewind()
                self.lost += 1
                return True
        return False


class SourceClock:
    """Seconds since a source's first frame, never going back. A frame without a time comes one frame after the last."""

    def __init__(self, step_s: float) -> None:
        """`step_s`: seconds from frame to frame, as the source says."""
        self._step_s = step_s
        self._begin: float | None = None  # what the source's clock said, or would have said, at the first frame
        self._now = -step_s

    def seconds(self, stamp: float | None) -> float:
        """The time of the next frame, `stamp` seconds by the source's clock."""
        if stamp is None or self._begin is None or not 0 <= stamp - self._begin - self._now <= _LONGEST_STEP_S:
            self._now += self._step_s
            self._begin = self._begin if stamp is None else stamp - self._now
        else:
            self._now = stamp - self._begin
        return self._now
