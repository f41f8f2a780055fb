"""Whole frames, decoded to masks: ours in the `window` policy, and the reference algorithm's."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from glus_edge.benchmarks.gpu.clock import Clock
from glus_edge.benchmarks.gpu.row import GpuRow, row_of_times
from glus_edge.benchmarks.instruments.bench_video import bench_sentences, bench_video
from glus_edge.benchmarks.instruments.contender import BLOCK_FRAMES, WARM_UP_FRAMES
from glus_edge.runtime.bundle.signatures import GRAPHS
from glus_edge.runtime.segmenter import Segmenter

if TYPE_CHECKING:
    from glus_edge.benchmarks.reference.reference import Reference


POLICY = "window"
MOST_BLOCKS = 3


@dataclass(frozen=True)
class Frames:
    """A run over the made-up clip, one sentence, by the host's clock from the decoded picture to the mask on the host."""

    backend: str
    policy: str
    milliseconds: list[float]  # of each frame behind the warm-up
    stages: dict[str, float]  # median milliseconds; TensorRT's are the host's, which does not wait for the device
    segmented: int  # of these frames; SAM 2's part runs on no others

    @property
    def frames_per_second(self) -> float:
        """Over all measured frames."""
        return 1e3 * len(self.milliseconds) / sum(self.milliseconds)

    def row(self, baseline: "Frames | None" = None) -> GpuRow:
        """A row of the table, with the ratio to a baseline."""
        note = f"{self.policy}, 1 sentence: {self.frames_per_second:.2f} frames/s"
        if self.segmented < len(self.milliseconds):
            note += f", only {self.segmented} of {len(self.milliseconds)} with [SEG]"
        if baseline is not None:
            note += f", {self.frames_per_second / baseline.frames_per_second:.2f} times {baseline.backend}"
        return row_of_times(GpuRow(self.backend, "frame", ""), self.milliseconds, note=note)

    def stage_rows(self, precision: str) -> Iterator[GpuRow]:
        """The stages that are graphs."""
        for graph in GRAPHS:
            if graph in self.stages:
                yield GpuRow(
                    self.backend, graph, precision, p50_ms=self.stages[graph], note="in its place in the frame"
                )


class _Step(NamedTuple):
    """What is kept of one frame."""

    timings: Mapping[str, float]  # milliseconds per stage
    segmented: bool


def our_frames(segmenter: Segmenter, clock: Clock, kept_s: float) -> Frames:
    """Runs the loop. Errors: those of the engines."""
    video = bench_video(None, WARM_UP_FRAMES + MOST_BLOCKS * BLOCK_FRAMES)
    results = segmenter.segment(video, bench_sentences(1), policy=POLICY).with_frames()

    def step() -> _Step:
        _, result = next(results)
        return _Step(result.timings, all(score.segmented for score in result.scores))

    try:
        return _measured(segmenter.backend.name, POLICY, step, clock, kept_s)
    finally:
        results.close()


def reference_frames(reference: "Reference", backend: str, clock: Clock, kept_s: float) -> Frames:
    """Runs the reference algorithm."""
    video = bench_video(None, WARM_UP_FRAMES + MOST_BLOCKS * BLOCK_FRAMES)
    results = reference.segment(video, bench_sentences(1)[0])

    def step() -> _Step:
        result = next(results)
        return _Step(result.timings, result.segmented)

    return _measured(backend, "reference", step, clock, kept_s)


def _measured(backend: str, policy: str, step: Callable[[], _Step], clock: Clock, kept_s: float) -> Frames:
    """Whole blocks of frames behind the warm-up: at least one, more while the clock leaves more than `kept_s`."""
    for _ in range(WARM_UP_FRAMES):
        step()
    times: list[float] = []
    stages: dict[str, list[float]] = {}
    segmented = 0
    while not times or (len(times) < MOST_BLOCKS * BLOCK_FRAMES and clock.left_s(kept_s) > 0):
        for _ in range(BLOCK_FRAMES):
            start = time.perf_counter()
            result = step()
            times.append((time.perf_counter() - start) * 1e3)
            segmented += result.segmented
            for name, milliseconds in result.timings.items():
                stages.setdefault(name, []).append(milliseconds)
    medians = {name: statistics.median(values) for name, values in stages.items()}
    return Frames(backend, policy, times, medians, segmented)
