"""One way of running a bundle, measured in blocks of frames so that others can take turns with it."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from glus_edge.benchmarks.instruments.counting_engine import CountingBackend, Counts
from glus_edge.runtime.policies.loop_rules import LoopChoice
from glus_edge.runtime.segmenter import Segmenter
from glus_edge.runtime.video.video import Video

# Twelve frames: after them memory attention (every 3rd frame) and the query window (4 turns) are where they were.
BLOCK_FRAMES = 12
WARM_UP_FRAMES = 24  # two blocks: by then all memory slots are in use and the query window is full


class FrameSample(NamedTuple):
    """One frame."""

    milliseconds: float  # wall clock, decoding to masks
    stages: dict[str, float]  # milliseconds
    segmented: bool  # the language model answered [SEG] to every sentence
    mask: NDArray[np.uint8]  # of the first sentence, packed bits


@dataclass
class FrameBlock:
    """Consecutive frames."""

    frames: list[FrameSample]
    cpu_ms: float  # of all threads of the process, for all frames: what is left to compare by on a busy machine
    counts: Counts = field(default_factory=Counts)

    @property
    def milliseconds(self) -> float:
        """Of all frames."""
        return sum(frame.milliseconds for frame in self.frames)


class Contender:
    """A policy and a number of sentences over one video."""

    def __init__(
        self,
        segmenter: Segmenter,
        backend: CountingBackend,
        video: Video,
        choice: LoopChoice,
        sentences: Sequence[str],
    ) -> None:
        """`backend`: the one `segmenter` was opened with."""
        self.policy, self.sentences = choice.policy, tuple(sentences)
        self._backend = backend
        self._results = segmenter.segment(video, self.sentences, **asdict(choice)).with_frames()

    def block(self, frames: int = BLOCK_FRAMES) -> FrameBlock:
        """Runs the next frames of the video."""
        self._backend.drain()
        start = time.process_time()
        samples = [self._frame() for _ in range(frames)]
        return FrameBlock(samples, (time.process_time() - start) * 1e3, self._backend.drain())

    def close(self) -> None:
        """Ends the run, and the decoding ahead of it."""
        self._results.close()

    def _frame(self) -> FrameSample:
        start = time.perf_counter()
        _, result = next(self._results)
        milliseconds = (time.perf_counter() - start) * 1e3
        segmented = all(scores.segmented for scores in result.scores)
        return FrameSample(milliseconds, dict(result.timings), segmented, np.packbits(result.masks[0]))
