"""The slowest frames of a run, each with what can be known of why. Pure Python, from the record alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from glus_edge.benchmarks.records.frame_sample import FrameSample
from glus_edge.benchmarks.records.profile_record import ProfileRun

WORST = 10
SHARE = 0.2  # of what a frame took longer than usual, from which on something is a reason
CROWDED = 0.9  # of all cores busy


@dataclass(frozen=True)
class WorstFrame:
    """One of them."""

    sample: FrameSample
    excess_ms: float  # over the run's median latency
    reasons: tuple[str, ...]  # the weightiest first; empty: nothing that was measured explains it


def worst_frames(run: ProfileRun, cores: int, count: int = WORST) -> tuple[WorstFrame, ...]:
    """By latency, the slowest first. `cores`: that the process may use. A reason explains at least SHARE of the excess."""
    if not run.frames:
        return ()
    usual = _Usual(run.frames)
    slowest = sorted(run.frames, key=lambda sample: -sample.latency_ms)[:count]
    return tuple(
        WorstFrame(sample, sample.latency_ms - usual.latency_ms, tuple(_reasons(sample, run, usual, cores)))
        for sample in slowest
    )


class _Usual:
    """Medians over all frames of a run."""

    def __init__(self, frames: Sequence[FrameSample]) -> None:
        self.latency_ms = _median([frame.latency_ms for frame in frames])
        self.decode_ms = _median([frame.decode_ms for frame in frames])
        self.wait_ms = _median([_wait_ms(frame) for frame in frames])
        self.asked_share = float(np.mean([frame.asked for frame in frames]))
        stages = [frame.stages_ms() for frame in frames]
        names = {name for each in stages for name in each}
        self.stages_ms = {name: _median([each.get(name, 0.0) for each in stages]) for name in names}
        self.calls = {
            graph: _median([float(_calls(frame, graph)) for frame in frames])
            for graph in {call.graph for frame in frames for call in frame.calls}
        }


def _reasons(sample: FrameSample, run: ProfileRun, usual: _Usual, cores: int) -> Iterator[str]:
    """Causes first, the stages that merely took longer behind them."""
    excess = sample.latency_ms - usual.latency_ms
    if excess <= 0:
        return
    counters = sample.counters
    throttled = _throttled(sample, run)
    stages = sample.stages_ms()
    beyond = {name: ms - usual.stages_ms.get(name, 0.0) for name, ms in stages.items()}
    found: list[tuple[float, str]] = []
    language = beyond.get("language_model", 0.0)
    if _calls(sample, "language_model") > usual.calls.get("language_model", 0.0) >= 1:
        found.append((language, "the context was read anew by the language model"))
    elif sample.asked and usual.asked_share < 0.5:
        found.append((language, "the language model was asked"))
    found.append((counters.gc_ms, f"garbage collection ({counters.gc_ms:.1f} ms)"))
    ahead = run.scenario in ("live", "streams")  # decoded before the loop takes it: part of the wait, not a stage
    decode = sample.decode_ms if ahead else stages.get("decode", 0.0)
    longer = decode - (usual.decode_ms if ahead else usual.stages_ms.get("decode", 0.0))
    found.append((longer, f"waited for decoding ({decode:.1f} ms)"))
    queue = _wait_ms(sample) - usual.wait_ms - (longer if ahead else 0.0)
    found.append((queue, f"waited {_wait_ms(sample):.1f} ms until the loop was free"))
    if counters.quota_ms:
        found.append((counters.quota_ms, f"stopped by the container's processor quota ({counters.quota_ms:.0f} ms)"))
    if counters.stolen_ms:
        found.append((counters.stolen_ms, f"the host gave {counters.stolen_ms:.0f} ms of processor time to others"))
    other = counters.other_cpu_ms or 0.0
    if other + counters.cpu_ms > CROWDED * cores * max(sample.work_ms, 1e-9):
        found.append((other / cores, f"another process ({other:.0f} ms of processor time)"))
    if throttled:
        found.append((excess, f"throttled ({', '.join(throttled)})"))
    weighty = sorted((weight, text) for weight, text in found if weight >= SHARE * excess)
    yield from (text for _, text in reversed(weighty))
    explained = {"decode", *(["language_model"] if weighty and "language model" in weighty[-1][1] else [])}
    slow = {name: ms for name, ms in beyond.items() if ms >= SHARE * excess and name not in explained}
    for name in sorted(slow, key=lambda each: -slow[each]):
        yield f"{name} took {stages[name]:.1f} ms, usually {usual.stages_ms.get(name, 0.0):.1f}"


def _throttled(sample: FrameSample, run: ProfileRun) -> tuple[str, ...]:
    """What the look at the machine that follows the frame's end says was throttled since the look before."""
    following = [each for each in run.machine if each.at_s >= sample.finished_s]
    return following[0].throttled if following else ()


def _wait_ms(sample: FrameSample) -> float:
    return 1e3 * (sample.started_s - sample.arrived_s)


def _calls(sample: FrameSample, graph: str) -> int:
    return sum(call.graph == graph for call in sample.calls)


def _median(values: Sequence[float]) -> float:
    return float(np.median(values))
