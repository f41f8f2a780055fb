"""The scenarios `offline` and `server`: whole clips, decoded ahead of the engines as `segment` does it."""

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from typing import NamedTuple

import numpy as np

from glus_edge.benchmarks.profiler.frame_probe import ProbedFrame
from glus_edge.benchmarks.profiler.opened import Opened
from glus_edge.benchmarks.profiler.run_builder import RunBuilder
from glus_edge.benchmarks.profiler.settings import LOAD
from glus_edge.runtime.loop.result import FrameResult


class DoneFrame(NamedTuple):
    """A frame of a clip."""

    probed: ProbedFrame
    result: FrameResult
    decode_ms: float


class ClipRunner:
    """Runs one clip after another."""

    def __init__(self, opened: Opened, builder: RunBuilder) -> None:
        self._opened, self._builder = opened, builder
        self.clips = -(-opened.settings.frames // opened.settings.clip_frames)

    def warm_up(self) -> float:
        """One clip; the seconds it took, opening it included."""
        begin = time.perf_counter()
        for _ in self._clip():
            pass
        return time.perf_counter() - begin

    def offline(self) -> None:
        """All clips, each when the last is done."""
        for number in range(self.clips):
            with self._builder.turn() as block:
                for probed, result, decode_ms in self._clip():
                    self._builder.add(
                        probed,
                        result,
                        stream=number,
                        index=result.index,
                        block=block,
                        arrived=probed.started,
                        decode_ms=decode_ms,
                    )

    def server(self, clip_s: float) -> None:
        """All clips, which arrive at random: the next may wait for the last. `clip_s`: how long one takes alone."""
        settings = self._opened.settings
        rate = settings.rate or LOAD / clip_s
        self._builder.rate, self._builder.sources = rate, self.clips
        with self._builder.turn() as block:
            for number, arrival in enumerate(arrivals(rate, self.clips, settings.seed)):
                arrived = self._builder.started + arrival
                time.sleep(max(0.0, arrived - time.perf_counter()))
                for probed, result, decode_ms in self._clip():
                    self._builder.add(
                        probed,
                        result,
                        stream=number,
                        index=result.index,
                        block=block,
                        arrived=arrived,
                        decode_ms=decode_ms,
                    )

    def _clip(self) -> Iterator[DoneFrame]:
        """A clip from its opening to its end."""
        settings, probe = self._opened.settings, self._opened.probe
        video = self._opened.video(settings.clip_frames)
        choice = asdict(settings.choice(self._builder.policy))
        probe.begin()
        results = self._opened.segmenter.segment(video, self._builder.sentences, **choice).with_frames()
        with closing(video), closing(results):
            for _, result in results:
                yield DoneFrame(probe.end(), result, video.decode_ms(result.index))
                probe.begin()


def arrivals(rate: float, count: int, seed: int) -> list[float]:
    """Moments of a Poisson process, in seconds: `count` of them, `rate` a second on average."""
    gaps = np.random.default_rng(seed).exponential(1 / rate, count)
    return [float(moment) for moment in np.cumsum(gaps)]
