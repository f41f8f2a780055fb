"""Takes turns: every policy, every number of sentences and the baseline, block by block, until all have had theirs."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from glus_edge.benchmarks.instruments.bench_video import bench_sentences, bench_video
from glus_edge.benchmarks.instruments.contender import BLOCK_FRAMES, WARM_UP_FRAMES, Contender, FrameBlock
from glus_edge.benchmarks.instruments.counting_engine import CountingBackend
from glus_edge.benchmarks.reference.baseline import BaselineSource
from glus_edge.benchmarks.reference.reference_process import ReferenceProcess, ReferenceSettings
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.open_backend import SegmenterOptions, open_backend
from glus_edge.runtime.policies.loop_rules import LoopChoice
from glus_edge.runtime.segmenter import Segmenter
from glus_edge.runtime.utils.process_memory import peak_bytes, resident_bytes
from glus_edge.runtime.utils.progress import Progress


@dataclass(frozen=True)
class BenchSettings:
    """What is measured; the command line's defaults."""

    bundle: Path
    options: SegmenterOptions
    video: Path | None = None
    policies: tuple[str, ...] = ("exact", "window", "rolling")
    refresh: str = "always"  # of every policy, as are the next two
    memory: str = "reference"
    lost: str = "never"
    sentences: tuple[int, ...] = (1, 8)
    rounds: int = 5  # of BLOCK_FRAMES frames each
    baseline: BaselineSource | None = None

    def choice(self, policy: str) -> LoopChoice:
        """The rules of one policy's run."""
        return LoopChoice(policy, self.refresh, self.memory, self.lost)

    @property
    def frames(self) -> int:
        """Of the whole run of one contender."""
        return WARM_UP_FRAMES + self.rounds * BLOCK_FRAMES


@dataclass(frozen=True)
class MemoryUse:
    """Resident bytes of the runtime's process; None where the system does not say."""

    opened: int | None  # graphs loaded, nothing run
    warm: int | None  # all contenders warmed up
    final: int | None
    peak: int
    baseline_peak: int | None  # of the baseline's own process


class BlockRunner(Protocol):
    """Whoever runs blocks of frames."""

    def block(self, frames: int = ...) -> FrameBlock:
        """The next frames of its video."""


@dataclass(frozen=True)
class Measured:
    """Blocks of one contender."""

    warm_up: FrameBlock
    rounds: list[FrameBlock]


Key = tuple[str, int]  # policy and number of sentences
BASELINE: Key = ("reference", 1)


def open_counted(bundle: Path, options: SegmenterOptions) -> tuple[Segmenter, CountingBackend]:
    """A bundle whose engines count, those that make pixels left out. EngineError: a backend this machine lacks."""
    opened = Bundle.open(bundle)
    runs, pixels, choice = open_backend(opened, options)
    backend = CountingBackend(runs)
    return Segmenter(opened, backend, pixels, choice=choice), backend


def measure(settings: BenchSettings, progress: Progress) -> tuple[Mapping[Key, Measured], MemoryUse]:
    """Runs everything. Errors: those of the bundle, the video, the policies and the baseline."""
    with ExitStack() as stack:
        segmenter, backend = open_counted(settings.bundle, settings.options)
        stack.enter_context(segmenter)
        opened = resident_bytes()
        runners: dict[Key, BlockRunner] = {}
        for policy in settings.policies:
            for count in settings.sentences:
                video = stack.enter_context(closing(bench_video(settings.video, settings.frames)))
                sentences = bench_sentences(count)
                contender = Contender(segmenter, backend, video, settings.choice(policy), sentences)
                stack.callback(contender.close)
                runners[policy, count] = contender
        baseline = None
        if settings.baseline:
            baseline = stack.enter_context(ReferenceProcess(_reference_settings(settings, settings.baseline)))
            runners = {BASELINE: baseline, **runners}
        order = list(runners.items())
        total = len(order) * (1 + settings.rounds)
        turns = _turns(order, settings.rounds)
        blocks: dict[Key, list[FrameBlock]] = {key: [] for key in runners}
        warm = None
        for number, (key, runner, frames) in enumerate(progress(turns, total, "measuring, in blocks")):
            blocks[key].append(runner.block(frames))
            if number + 1 == len(order):
                warm = resident_bytes()
        final = resident_bytes()
        memory = MemoryUse(
            opened, warm, final, max(peak_bytes(), final or 0), baseline.peak_bytes() if baseline else None
        )
    return {key: Measured(first, rest) for key, (first, *rest) in blocks.items()}, memory


def _turns(order: Sequence[tuple[Key, BlockRunner]], rounds: int) -> list[tuple[Key, BlockRunner, int]]:
    """Who runs how many frames, in which order: warm-up first, then rounds whose direction changes every time."""
    turns = [(key, runner, WARM_UP_FRAMES) for key, runner in order]
    for number in range(rounds):
        turns += [(key, runner, BLOCK_FRAMES) for key, runner in (order if number % 2 else reversed(order))]
    return turns


def _reference_settings(settings: BenchSettings, source: BaselineSource) -> ReferenceSettings:
    return ReferenceSettings(
        bundle=settings.bundle,
        source=source,
        video=settings.video,
        frames=settings.frames,
        sentence=bench_sentences(1)[0],
        threads=settings.options.onnxruntime.threads,
    )
