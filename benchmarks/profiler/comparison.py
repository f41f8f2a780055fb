"""What differs between two runs beyond noise, stage by stage. Pure Python.

A block's time is the lower quartile of its frames: other processes only ever add time. Blocks are what the bootstrap draws
(frames within one are not independent): in pairs where two runs took turns, else each run's for itself. Runs of different
records may also differ because the machine did. How far the yardstick moved between them, and how far each run's own
stretches lie apart, is the noise floor: it widens the interval.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glus_edge.benchmarks.profiler.settings import BLOCK_FRAMES
from glus_edge.benchmarks.records.frame_sample import FrameSample
from glus_edge.benchmarks.records.profile_record import ProfileRun

LATENCY = "latency"
EQUAL, SLOWER, FASTER, UNDECIDED = "equal", "slower", "faster", "undecided"
CONFIDENCE = 0.95  # of all stages of a comparison together
TOLERATE = 0.05
FEWEST_BLOCKS = 5
_DRAWS = 10_000
_STRETCHES = 4
_SMALLEST_FLOOR = 0.005  # two runs in turns are never compared more finely
_NEGLIGIBLE_MS = 0.05  # below which a stage's time is mostly that of the clock


@dataclass(frozen=True)
class StageDifference:
    """One stage of two runs, or LATENCY: the whole frame."""

    stage: str
    first_ms: float
    second_ms: float
    change: float  # 0.1: the second takes 10% longer
    low: float  # of the interval of `change`, noise floor included
    high: float
    verdict: str  # EQUAL; SLOWER or FASTER: beyond the interval; UNDECIDED: it is wider than what is tolerated


@dataclass(frozen=True)
class RunComparison:
    """Two runs."""

    first: str
    second: str
    paired: bool  # they took turns
    floor: float  # share of a time, below which a difference between these two is not the bundle's
    stages: tuple[StageDifference, ...]  # LATENCY first

    def regressions(self, tolerate: float) -> tuple[StageDifference, ...]:
        """What is slower beyond noise, and by more than `tolerate`."""
        return tuple(each for each in self.stages if each.verdict == SLOWER and each.change > tolerate)


def compare_runs(
    first: ProfileRun, second: ProfileRun, *, paired: bool, tolerate: float = TOLERATE, seed: int = 0
) -> RunComparison:
    """`paired`: block by block of one record. ValueError: a run has fewer than FEWEST_BLOCKS blocks."""
    blocks = [block_times(run) for run in (first, second)]
    for run, times in zip((first, second), blocks, strict=True):
        count = len(times[LATENCY])
        if count < FEWEST_BLOCKS:
            raise ValueError(
                f"{run.name}: got {count} blocks of {BLOCK_FRAMES} frames, expected at least {FEWEST_BLOCKS}"
            )
    ours, theirs = blocks
    stages = [name for name in ours if name in theirs and _matters(ours[name], theirs[name])]
    floor = _SMALLEST_FLOOR if paired else noise_floor(first, second)
    random = np.random.default_rng(seed)
    tail = (1 - CONFIDENCE) / len(stages) / 2  # Bonferroni's share
    found = []
    for name in stages:
        a, b = np.log(ours[name]), np.log(theirs[name])
        if paired:
            length = min(len(a), len(b))
            steps = (b[:length] - a[:length])[random.integers(0, length, (_DRAWS, length))]
            drawn, change = np.median(steps, axis=1), float(np.median(b[:length] - a[:length]))
        else:
            drawn = np.median(b[random.integers(0, len(b), (_DRAWS, len(b)))], axis=1) - np.median(
                a[random.integers(0, len(a), (_DRAWS, len(a)))], axis=1
            )
            change = float(np.median(b) - np.median(a))
        low, high = np.quantile(drawn, (tail, 1 - tail)) + np.array([-floor, floor])
        found.append(
            StageDifference(
                stage=name,
                first_ms=float(np.exp(np.median(a))),
                second_ms=float(np.exp(np.median(b))),
                change=float(np.expm1(change)),
                low=float(np.expm1(low)),
                high=float(np.expm1(high)),
                verdict=_verdict(float(low), float(high), tolerate),
            )
        )
    return RunComparison(first.name, second.name, paired, floor, tuple(found))


def block_times(run: ProfileRun) -> Mapping[str, NDArray[np.float64]]:
    """Milliseconds of each block by stage, LATENCY first. A run without turns is cut into blocks of BLOCK_FRAMES."""
    blocks = _blocks(run)
    names = dict.fromkeys(name for frame in run.frames for name in frame.stages_ms())
    times = {LATENCY: np.array([_quartile([frame.latency_ms for frame in block]) for block in blocks])}
    stages = [[frame.stages_ms() for frame in block] for block in blocks]
    for name in names:
        times[name] = np.array([_quartile([frame.get(name, 0.0) for frame in block]) for block in stages])
    return times


def noise_floor(first: ProfileRun, second: ProfileRun) -> float:
    """Of two runs that did not take turns, as the logarithm of a ratio: the most that one of these signs shows.

    How far the yardstick's median moved, and how far the stretches of each run lie apart.
    """
    signs = [_SMALLEST_FLOOR]
    for what in ("arithmetic_ms", "copy_ms"):
        medians = [[getattr(each, what) for each in run.yardsticks] for run in (first, second)]
        if all(medians):
            signs.append(abs(float(np.log(np.median(medians[0]) / np.median(medians[1])))))
    for run in (first, second):
        latency = np.log(block_times(run)[LATENCY])
        if len(latency) >= 2 * _STRETCHES:
            stretches = [float(np.median(part)) for part in np.array_split(latency, _STRETCHES)]
            signs.append(float(np.std(stretches, ddof=1)))
    return max(signs)


def _blocks(run: ProfileRun) -> list[Sequence[FrameSample]]:
    numbers = list(dict.fromkeys(frame.block for frame in run.frames))
    if run.scenario == "single":
        return [[frame for frame in run.frames if frame.block == number] for number in numbers]
    whole = len(run.frames) // BLOCK_FRAMES * BLOCK_FRAMES
    return [run.frames[start : start + BLOCK_FRAMES] for start in range(0, whole, BLOCK_FRAMES)]


def _matters(first: NDArray[np.float64], second: NDArray[np.float64]) -> bool:
    return bool(min(first.min(), second.min()) > 0 and max(np.median(first), np.median(second)) >= _NEGLIGIBLE_MS)


def _verdict(low: float, high: float, tolerate: float) -> str:
    if low > 0:
        return SLOWER
    if high < 0:
        return FASTER
    return EQUAL if high - low <= 2 * np.log1p(tolerate) else UNDECIDED


def _quartile(values: Sequence[float]) -> float:
    return float(np.percentile(values, 25))
