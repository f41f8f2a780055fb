"""The figures of a run that people ask for, computed from its samples. Pure Python."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from glus_edge.benchmarks.records.profile_record import ProfileRun


@dataclass(frozen=True)
class Percentiles:
    """Milliseconds."""

    p50: float
    p90: float
    p99: float
    p999: float
    longest: float


@dataclass(frozen=True)
class RunSummary:
    """One run."""

    frames: int
    frames_per_second: float  # that were answered, of all sources together
    latency: Percentiles  # arrival to masks; of the scenario `server` of whole clips, else of frames
    jitter_ms: float  # the mean difference between the latencies of neighbouring frames of a source (RFC 3550)
    sent: int  # frames of live sources; 0 elsewhere
    skipped: int
    late: int
    streams: int | None  # the answer of the scenario `streams`
    joules_a_frame: dict[str, float]  # by power source, idleness subtracted where it was measured


def summary(run: ProfileRun) -> RunSummary:
    """Errors: ValueError: a run without a frame, unless it is of the scenario `streams`."""
    if not run.frames and run.scenario != "streams":
        raise ValueError(f"{run.name}: got no frame")
    return RunSummary(
        frames=len(run.frames),
        frames_per_second=len(run.frames) / run.seconds if run.seconds else 0.0,
        latency=percentiles(latencies(run)),
        jitter_ms=jitter(run),
        sent=sum(count.sent for count in run.counts),
        skipped=sum(count.skipped for count in run.counts),
        late=sum(count.late for count in run.counts),
        streams=run.sources if run.scenario == "streams" else None,
        joules_a_frame={
            use.source: (use.joules if use.net_joules is None else use.net_joules) / len(run.frames)
            for use in run.energy
            if run.frames
        },
    )


def latencies(run: ProfileRun) -> list[float]:
    """Milliseconds: of frames, or of whole clips where a clip is what was asked for."""
    if run.scenario != "server":
        return [frame.latency_ms for frame in run.frames]
    clips: dict[int, float] = {}
    for frame in run.frames:
        clips[frame.stream] = max(clips.get(frame.stream, 0.0), frame.latency_ms)
    return list(clips.values())


def percentiles(milliseconds: Sequence[float]) -> Percentiles:
    """Zeros where there are no values."""
    if not len(milliseconds):
        return Percentiles(0.0, 0.0, 0.0, 0.0, 0.0)
    p50, p90, p99, p999, longest = np.percentile(milliseconds, (50, 90, 99, 99.9, 100)).tolist()
    return Percentiles(p50, p90, p99, p999, longest)


def jitter(run: ProfileRun) -> float:
    """Milliseconds; 0 where no source has two frames."""
    sources: dict[tuple[int, int], list[float]] = {}
    for frame in run.frames:
        sources.setdefault((frame.stream, frame.block if run.scenario == "streams" else 0), []).append(frame.latency_ms)
    steps = [abs(b - a) for values in sources.values() for a, b in pairwise(values)]
    return float(np.mean(steps)) if steps else 0.0
