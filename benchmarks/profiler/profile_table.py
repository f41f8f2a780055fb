"""A record as people read it: what is doubtful first, then the figures."""

from collections.abc import Iterator

import numpy as np

from glus_edge.benchmarks.latency.bench_table import columns
from glus_edge.benchmarks.profiler.memory_slope import leaking, memory_slopes
from glus_edge.benchmarks.profiler.summary import summary
from glus_edge.benchmarks.profiler.worst_frames import worst_frames
from glus_edge.benchmarks.records.profile_record import SCENARIOS, ProfileRecord, ProfileRun


def profile_table(record: ProfileRecord) -> Iterator[str]:
    """Lines of text."""
    for text in record.disturbances:
        yield f"DISTURBED: {text}"
    where = record.environment
    yield f"{where.processor.name}, {where.threads} threads, {record.started}"
    for run in record.runs:
        yield ""
        yield f"{run.scenario}, {run.name}: {SCENARIOS[run.scenario]}"
        yield from _run(run, where.processor.usable_threads)
    yield ""
    for reason in record.energy_absent:
        yield f"no energy of {reason}"


def _run(run: ProfileRun, cores: int) -> Iterator[str]:
    figures = summary(run)
    if figures.streams is not None:
        share = f"{run.rate:g} frames a second" if run.rate else "their own rate"
        yield f"{figures.streams} streams at {share}; {len(run.trials)} trials"
        for trial in run.trials:
            kind = "verified" if trial.verifies else "tried"
            yield f"  {kind} {trial.streams}: {trial.skipped} of {trial.sent} frames skipped"
        if not run.frames:
            return
    latency = figures.latency
    what = "clip" if run.scenario == "server" else "frame"
    yield f"{figures.frames} frames, {figures.frames_per_second:.1f} a second"
    yield (
        f"{what}, arrival to masks, ms: p50 {latency.p50:.1f}, p90 {latency.p90:.1f}, p99 {latency.p99:.1f}, "
        f"p99.9 {latency.p999:.1f}, longest {latency.longest:.1f}; jitter {figures.jitter_ms:.1f}"
    )
    if figures.sent and figures.streams is None:
        yield (
            f"of {figures.sent} frames that came {figures.skipped} skipped, {figures.late} answered later than "
            f"{run.deadline_ms:.0f} ms"
        )
    stages = [frame.stages_ms() for frame in run.frames]
    names = dict.fromkeys(name for each in stages for name in each)
    yield from columns(
        [
            ("stage", "p50 ms", "p99 ms", "share"),
            *(
                (name, *_stage([each.get(name, 0.0) for each in stages], sum(f.work_ms for f in run.frames)))
                for name in names
            ),
        ]
    )
    yield "slowest frames:"
    for worst in worst_frames(run, cores):
        reasons = "; ".join(worst.reasons) or "no reason was seen"
        sample = worst.sample
        yield f"  {sample.latency_ms:.1f} ms, stream {sample.stream}, frame {sample.index}: {reasons}"
    slopes = memory_slopes(run.machine)
    for slope in slopes:
        yield f"memory, {slope.owner}: {slope.peak_bytes / 1e6:.1f} MB at most, {slope.bytes_a_frame:+.0f} bytes a frame"
    for owner in leaking(slopes):
        yield f"LEAK: {owner}"
    for source, joules in figures.joules_a_frame.items():
        yield f"energy, {source}: {joules:.3f} J a frame"


def _stage(values: list[float], total: float) -> tuple[str, str, str]:
    p50, p99 = np.percentile(values, (50, 99))
    return f"{p50:.2f}", f"{p99:.2f}", f"{sum(values) / total:.0%}" if total else ""
