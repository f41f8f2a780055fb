"""Frames as they arrive: a camera, a stream on the network, or a recording played at its own pace."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from glus_edge.runtime.errors import InputError, VideoError
from glus_edge.runtime.video.color_conversion import displayed_rgb, pixel_aspect
from glus_edge.runtime.video.gap import Gap
from glus_edge.runtime.video.video_address import video_address
from glus_edge.runtime.video.video_decoder import VideoDecoder

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 8.0  # between attempts to reach a source that was lost
_SEGMENTED = ("hls", "dash")  # formats whose frames come in bursts of seconds
_GAPS_KEPT = 100  # the first ones; all are counted
_LONGEST_STEP_S = 3600.0  # from one frame to the next; a clock that goes further was set, as was one that goes back


@dataclass(frozen=True, eq=False)
class LiveFrame:
    """One frame of a live source."""

    rgb: NDArray[np.uint8]  # [H, W, 3], turned the way it is shown
    number: int  # among all frames the source sent, from 0; what is left out was passed over
    time: float  # seconds since the source's first frame, by the source's clock; where that is set, on by one frame
    arrived: float  # seconds, by the clock of `LiveSource`: when its frame had been decoded
    pixel_aspect: Fraction = Fraction(1)  # width of a pixel as it is shown by its height
    gaps: tuple[Gap, ...] = ()  # where pictures could not be decoded, since the frame that was taken before


@dataclass(frozen=True)
class SourceEvent:
    """What became of a live source that was lost."""

    event: str  # `source_lost`, `source_sought` (an attempt that failed) or `source_found`
    time: float  # seconds since its first frame, by the source's clock: of its last frame
    away_s: float  # seconds since its last frame arrived
    reason: str | None = None


@dataclass(frozen=True, eq=False)
class _Decoded:
    frame: VideoFrame
    number: int
    time: float
    arrived: float
    pixel_aspect: Fraction


def _unheard(event: SourceEvent) -> None:
    """Nobody listens."""


class LiveSource:
    """Iterate it: each item is the newest frame there is; frames that came while you were busy are passed over.

    One frame is held, however long the source runs. Use it as a context manager.
    """

    def __init__(
        self,
        source: str,
        *,
        reconnect_s: float = 0.0,
        stream: int | None = None,
        listener: Callable[[SourceEvent], None] = _unheard,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`source`: a camera (`0`, `/dev/video0`), an address (`rtsp://...`), a video file, or a pipe (`-`).

        `reconnect_s`: how long a live source that was lost is sought again, since its last frame. `stream`: see
        `chosen_stream`. `listener`: called in the source's own thread when it is lost, sought and found. Errors:
        InputError for an address of a kind that is not read, VideoError for a source that cannot be opened.
        """
        if not 0 <= reconnect_s < math.inf:
            raise InputError(f"reconnect: got {reconnect_s:g} s, expected 0 or more")
        address = video_address(source)
        self.name, self._endless = address.name, address.endless
        self._clock, self._reconnect_s = clock, reconnect_s
        self._decoder = VideoDecoder(address, stream=stream)
        # What has a length is a recording, wherever it lies; 0 is how servers say that they know none.
        self._live = address.live and not self._decoder.stated_length()
        self._paced = not self._live or self._decoder.container_name in _SEGMENTED
        self._listener = listener
        self._gaps: list[Gap] = []  # since the frame that was taken last
        self.frame_rate = self._decoder.stream.average_rate or Fraction(25)  # as the source says; per second
        self._news = threading.Condition()
        self._newest: _Decoded | None = None
        self._over = False
        self._broken: str | None = None
        self._error: BaseException | None = None
        self._stopped = threading.Event()
        self.seen = 0  # frames that arrived
        self.lost = 0  # times the source was lost and found again
        self.gaps = 0  # where pictures could not be decoded
        self.lost_pictures = 0  # in all gaps
        self.first_gap: Gap | None = None
        self._last = clock()  # when the last frame arrived
        self._last_time = 0.0  # its time by the source's clock
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
            gaps: tuple[Gap, ...] = ()
            if newest is not None:
                gaps, self._gaps = tuple(self._gaps), []
        if newest is not None:
            rgb = displayed_rgb(newest.frame)
            return LiveFrame(rgb, newest.number, newest.time, newest.arrived, newest.pixel_aspect, gaps)
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
        begin: float | None = None  # when the source's clock stood at 0
        for frame in self._decoder.frames():
            if begin is None and self.seen:
                clock.resume(self._clock() - self._last)
            seconds = clock.seconds(self._stamp(frame))
            if begin is None:
                begin = self._clock() - seconds
            if self._paced:
                self._stopped.wait(max(0.0, begin + seconds - self._clock()))
            if self._stopped.is_set():
                return
            aspect = pixel_aspect(frame, self._decoder.stream)
            with self._news:
                self._note_gap(seconds)
                self._last, self._last_time = self._clock(), seconds
                self._newest = _Decoded(frame, self.seen, seconds, self._last, aspect)
                self.seen += 1
                self._news.notify()
        self._note_gap(None)
        self._broken = self._decoder.truncation(self.seen)
        if self._broken is None and self._live and self._endless:
            self._broken = f"{self.name}: after {self.seen} frames the source ended"

    def _note_gap(self, before_s: float | None) -> None:
        """Takes what the decoder lost since the frame before; `before_s`: the time of the one behind it, if one came."""
        lost, self._decoder.lost = self._decoder.lost, []
        if not lost:
            return
        after_s = self._last_time if self.seen else None
        gap = Gap(self.seen, self.seen, len(lost), after_s, before_s, lost[0].reason)
        self.gaps += 1
        self.lost_pictures += len(lost)
        self.first_gap = self.first_gap or gap
        if len(self._gaps) < _GAPS_KEPT:
            self._gaps.append(gap)

    def _found_again(self) -> bool:
        """Opens a live source anew, again and again if need be. False: it is not sought, or was not found in time."""
        if not self._live or self._broken is None or self._stopped.is_set():
            return False
        self._tell("source_lost", self._broken)
        wait = _FIRST_WAIT_S
        while self._clock() - self._last < self._reconnect_s and not self._stopped.wait(wait):
            wait = min(2 * wait, _LONGEST_WAIT_S)
            try:
                self._decoder.rewind()
            except VideoError as error:  # it is not there yet; what is said in the end is how it was lost
                self._tell("source_sought", str(error))
                continue
            self.lost += 1
            self._tell("source_found")
            return True
        return False

    def _tell(self, event: str, reason: str | None = None) -> None:
        away_s = self._clock() - self._last
        self._listener(SourceEvent(event, round(self._last_time, 4), round(away_s, 3), reason))


class SourceClock:
    """Seconds since a source's first frame, never going back. A frame without a time comes one frame after the last."""

    def __init__(self, step_s: float) -> None:
        """`step_s`: seconds from frame to frame, as the source says."""
        self._step_s = step_s
        self._begin: float | None = None  # what the source's clock said, or would have said, at the first frame
        self._now = -step_s
        self._away_s: float | None = None

    def resume(self, away_s: float) -> None:
        """The source was lost for that many seconds, and its clock may have begun anew: the next frame comes so much later."""
        self._away_s = away_s

    def seconds(self, stamp: float | None) -> float:
        """The time of the next frame, `stamp` seconds by the source's clock."""
        if self._away_s is not None:
            self._now += max(self._away_s, self._step_s)
            self._begin = None if stamp is None else stamp - self._now
            self._away_s = None
            return self._now
        if stamp is None or self._begin is None or not 0 <= stamp - self._begin - self._now <= _LONGEST_STEP_S:
            self._now += self._step_s
            self._begin = self._begin if stamp is None else stamp - self._now
        else:
            self._now = stamp - self._begin
        return self._now
