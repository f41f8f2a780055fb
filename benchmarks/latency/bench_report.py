"""BenchFigures from measured blocks: per contender, against the baseline, and as shares of what the machine can do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from glus_edge.benchmarks.instruments.contender import FrameBlock, FrameSample
from glus_edge.benchmarks.instruments.graph_work import GraphWork
from glus_edge.benchmarks.instruments.peak import MachinePeak
from glus_edge.benchmarks.instruments.statistics import Ratio, Timing, ratio, timing
from glus_edge.benchmarks.latency.measurement import BASELINE, Key, Measured
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.signatures import GRAPHS


@dataclass(frozen=True)
class FrameWork:
    """What one frame costs, all sentences together, warm-up excluded."""

    calls: dict[str, float]  # of each graph
    tokens_prefilled: float  # rows a sentence, padding included
    flops: float  # of matrix products and convolutions
    weight_bytes: float  # of all constants of the graphs that ran, each read once a call
    tensor_bytes: float  # of the graphs' inputs and outputs


@dataclass(frozen=True)
class PeakShare:
    """How much of what the machine can do was reached."""

    flops: float  # 0..1
    bytes: float  # 0..1; weights and the graphs' inputs and outputs only: what has to move at least
    floor_ms: float  # a frame at 100%: the longer of arithmetic and transport


@dataclass(frozen=True)
class BenchFigures:
    """One contender."""

    policy: str
    sentences: int
    frames: int  # measured
    frames_per_second: float
    frame_ms: Timing
    cpu_ms: float  # processor time a frame, all threads
    stages_ms: dict[str, Timing]
    warm_up_frames: int  # run before, in none of the figures
    first_frame_ms: float  # the first frame of the warm-up: reads the context, fills caches
    segmented: float  # share of frames on which the language model answered [SEG] to every sentence
    work: FrameWork | None  # None for the baseline
    peak_share: PeakShare | None  # None where no peak was measured
    against_baseline: Ratio | None  # frames per second; the baseline runs once for each sentence
    cpu_against_baseline: Ratio | None  # the same by processor time
    agreement: float | None  # mean IoU of the first sentence's masks with the baseline's
    against_one_sentence: Ratio | None  # time a frame, over that of one sentence with the same policy


def figures(measured: Mapping[Key, Measured], bundle: Bundle, peak: MachinePeak | None) -> list[BenchFigures]:
    """In the order they were asked for, the baseline first if there is one."""
    works = {graph: GraphWork(bundle.graph_path(graph)) for graph in GRAPHS}
    return [_figures(key, measured, works, peak) for key in measured]


def _figures(
    key: Key, measured: Mapping[Key, Measured], works: Mapping[str, GraphWork], peak: MachinePeak | None
) -> BenchFigures:
    (policy, sentences), rounds = key, measured[key].rounds
    frames = _frames(rounds)
    seconds = sum(block.milliseconds for block in rounds) / 1e3
    one = measured.get((policy, 1))
    other = measured[BASELINE].rounds if BASELINE in measured and key != BASELINE else None
    work = None if key == BASELINE else _work(rounds, works)
    return BenchFigures(
        policy=policy,
        sentences=sentences,
        frames=len(frames),
        frames_per_second=len(frames) / seconds,
        frame_ms=timing([frame.milliseconds for frame in frames]),
        cpu_ms=sum(block.cpu_ms for block in rounds) / len(frames),
        stages_ms=_stages(frames),
        warm_up_frames=len(measured[key].warm_up.frames),
        first_frame_ms=measured[key].warm_up.frames[0].milliseconds,
        segmented=float(np.mean([frame.segmented for frame in frames])),
        work=work,
        peak_share=_share(work, seconds / len(frames), peak) if work and peak else None,
        against_baseline=ratio(_milliseconds(other, sentences), _milliseconds(rounds)) if other else None,
        cpu_against_baseline=ratio([sentences * block.cpu_ms for block in other], [block.cpu_ms for block in rounds])
        if other
        else None,
        agreement=_agreement(_frames(other), frames) if other else None,
        against_one_sentence=ratio(_milliseconds(rounds), _milliseconds(one.rounds)) if one and sentences > 1 else None,
    )


def _frames(rounds: Sequence[FrameBlock]) -> list[FrameSample]:
    return [frame for block in rounds for frame in block.frames]


def _milliseconds(rounds: Sequence[FrameBlock], times: int = 1) -> list[float]:
    return [times * block.milliseconds for block in rounds]


def _stages(frames: Sequence[FrameSample]) -> dict[str, Timing]:
    """A stage that a frame did not need counts as 0 there."""
    names = dict.fromkeys(name for frame in frames for name in frame.stages)
    return {name: timing([frame.stages.get(name, 0.0) for frame in frames]) for name in names}


def _work(rounds: Sequence[FrameBlock], works: Mapping[str, GraphWork]) -> FrameWork:
    frames = len(_frames(rounds))
    calls = dict.fromkeys(GRAPHS, 0.0)
    tokens = flops = weight_bytes = 0
    for block in rounds:
        for call, count in block.counts.calls.items():
            sizes = dict(call.sizes)
            work = works[call.graph].work(sizes)
            calls[call.graph] += count / frames
            flops += count * work.flops
            weight_bytes += count * work.weight_bytes
            tokens += count * sizes.get("new_tokens", 0)
    tensor_bytes = sum(block.counts.tensor_bytes for block in rounds)
    return FrameWork(calls, tokens / frames, flops / frames, weight_bytes / frames, tensor_bytes / frames)


def _share(work: FrameWork, seconds: float, peak: MachinePeak) -> PeakShare:
    arithmetic = work.flops / peak.flops_per_second
    transport = (work.weight_bytes + work.tensor_bytes) / peak.bytes_per_second
    return PeakShare(arithmetic / seconds, transport / seconds, 1e3 * max(arithmetic, transport))


def _agreement(wanted: Sequence[FrameSample], got: Sequence[FrameSample]) -> float:
    ious = []
    for one, other in zip(wanted, got, strict=True):
        union = int(np.unpackbits(one.mask | other.mask).sum())
        ious.append(int(np.unpackbits(one.mask & other.mask).sum()) / union if union else 1.0)
    return float(np.mean(ious))
