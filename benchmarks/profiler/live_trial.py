"""Live sources served by one loop: the scenarios `live` and `streams`."""

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import NamedTuple

from glus_edge.benchmarks.profiler.opened import Opened
from glus_edge.benchmarks.profiler.paced_source import Arrival, PacedSource
from glus_edge.benchmarks.profiler.run_builder import RunBuilder
from glus_edge.benchmarks.records.frame_sample import SourceCount
from glus_edge.runtime.loop.live_session import LiveSession
from glus_edge.runtime.policies.deadline import Deadline

STREAM_WARM_UP_FRAMES = 12  # of each further session: its window is full, its buffers have been written to


class TrialCount(NamedTuple):
    """What became of the frames of all sources."""

    seconds: float
    counts: tuple[SourceCount, ...]

    @property
    def sent(self) -> int:
        """Frames of all sources."""
        return sum(count.sent for count in self.counts)

    @property
    def skipped(self) -> int:
        """Of all sources."""
        return sum(count.skipped for count in self.counts)


class LiveRunner:
    """Sessions that are kept from trial to trial, one a source."""

    def __init__(self, opened: Opened, builder: RunBuilder, rate: float) -> None:
        """`rate`: frames a second of each source."""
        self._opened, self._builder, self._rate = opened, builder, rate
        self._sessions: list[LiveSession] = []

    def warm_up(self, streams: int, frames: int) -> None:
        """Opens as many sessions as there are streams; each new one sees `frames` frames before anything is measured."""
        settings = self._opened.settings
        while len(self._sessions) < streams:
            session = self._opened.segmenter.stream(
                self._builder.sentences, **asdict(settings.choice(self._builder.policy))
            )
            video = self._opened.video(frames)
            self._opened.probe.begin()
            for frame in video.frames():
                session.push(frame.rgb)
            self._opened.probe.end()
            video.close()
            self._sessions.append(session)

    def trial(self, streams: int, *, keep: bool) -> TrialCount:
        """`streams` sources at once, evenly out of step, for the settings' seconds. `keep`: the frames are samples."""
        settings = self._opened.settings
        frames = max(1, round(settings.seconds * self._rate))
        news = threading.Condition()
        with ExitStack() as stack:
            if keep:
                block = stack.enter_context(self._builder.turn())
            sources = [PacedSource(self._opened.video(frames), frames, self._rate, news) for _ in range(streams)]
            begin = time.perf_counter() + 0.05  # by then all threads stand ready
            for number, source in enumerate(sources):
                source.start(begin + number / streams / self._rate)
                stack.callback(source.close)
            late = self._serve(sources, news, block if keep else None)
            seconds = time.perf_counter() - begin
        counts = tuple(
            SourceCount(number, source.sent, source.sent - source.skipped, source.skipped, late[number])
            for number, source in enumerate(sources)
        )
        return TrialCount(seconds, counts)

    def _serve(self, sources: Sequence[PacedSource], news: threading.Condition, block: int | None) -> list[int]:
        """Answers the frame that waits longest, until all sources are over. Late answers by source."""
        settings = self._opened.settings
        deadline = None if settings.deadline_ms is None else Deadline(settings.deadline_ms)
        allowed_ms = settings.deadline_ms or 1e3 / self._rate
        late = [0] * len(sources)
        while (taken := _next(sources, news)) is not None:
            number, arrival = taken
            probe = self._opened.probe
            probe.begin()
            begin = time.perf_counter()
            may_ask = deadline is None or deadline.allows(1e3 * (begin - arrival.arrived))
            result = self._sessions[number].push(arrival.frame.rgb, may_ask=may_ask)
            probed = probe.end()
            if deadline is not None:
                deadline.record(result.asked, 1e3 * (probed.finished - begin))
            late[number] += 1e3 * (probed.finished - arrival.arrived) > allowed_ms
            if block is not None:
                self._builder.add(
                    probed,
                    result,
                    stream=number,
                    index=arrival.number,
                    block=block,
                    arrived=arrival.arrived,
                    decode_ms=arrival.decode_ms,
                )
        for source in sources:
            if source.error is not None:
                raise source.error
        return late


def _next(sources: Sequence[PacedSource], news: threading.Condition) -> tuple[int, Arrival] | None:
    """The source whose frame arrived first, and that frame; None when all are over."""

    def waiting() -> list[tuple[float, int]]:
        return [(source.newest.arrived, i) for i, source in enumerate(sources) if source.newest is not None]

    with news:
        news.wait_for(lambda: waiting() or all(source.over for source in sources))
        if not waiting():
            return None
        _, number = min(waiting())
        arrival = sources[number].take()
        assert arrival is not None, "it was there a moment ago, under the same lock"
        return number, arrival
