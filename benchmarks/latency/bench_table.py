"""The figures as people read them."""

from collections.abc import Iterator, Sequence

from glus_edge.benchmarks.instruments.environment import Environment
from glus_edge.benchmarks.instruments.peak import MachinePeak
from glus_edge.benchmarks.instruments.statistics import Ratio
from glus_edge.benchmarks.latency.bench_report import BenchFigures
from glus_edge.benchmarks.latency.measurement import MemoryUse


def table(
    results: Sequence[BenchFigures], memory: MemoryUse, peak: MachinePeak | None, where: Environment
) -> Iterator[str]:
    """Lines of text."""
    yield f"{where.processor.name}, {where.threads} threads, {where.date}"
    if peak:
        yield (
            f"peak here: {peak.flops_per_second / 1e9:.0f} GFLOP/s ({peak.dtype} product), "
            f"{peak.bytes_per_second / 1e9:.1f} GB/s (copy)"
        )
    first = results[0]
    yield f"{first.frames} frames each, in turns; {first.warm_up_frames} frames of warm-up before, not counted"
    yield ""
    yield from columns(
        [
            (
                "",
                "fps",
                "p50 ms",
                "p90 ms",
                "p99 ms",
                "cpu ms",
                "tokens",
                "LLM",
                "GFLOP",
                "of peak",
                "x reference",
                "(cpu)",
                "x 1 sentence",
            ),
            *(_row(result) for result in results),
        ]
    )
    yield ""
    yield "a frame: stages, p50 / p99 ms"
    stages = dict.fromkeys(stage for result in results for stage in result.stages_ms)
    yield from columns(
        [
            ("", *(_name(result) for result in results)),
            *((stage, *(_stage(result, stage) for result in results)) for stage in stages),
            ("first frame", *(f"{result.first_frame_ms:.1f}" for result in results)),
        ]
    )
    yield ""
    steps = (("opened", memory.opened), ("warm", memory.warm), ("final", memory.final), ("peak", memory.peak))
    yield "resident MB: " + ", ".join(f"{name} {_megabytes(value)}" for name, value in steps)
    if memory.baseline_peak is not None:
        yield f"resident MB of the reference: peak {_megabytes(memory.baseline_peak)}"
    for result in results:
        if result.agreement is not None and result.policy == "exact":
            yield f"masks of exact, {result.sentences} and of the reference: mean IoU {result.agreement:.4f}"
    if any(result.segmented < 1 for result in results):
        least = min(result.segmented for result in results)
        yield f"NOTE: the language model answered [SEG] on {least:.0%} of frames only; the others skip SAM 2"


def _row(result: BenchFigures) -> tuple[str, ...]:
    timing, work, share = result.frame_ms, result.work, result.peak_share
    return (
        _name(result),
        f"{result.frames_per_second:.2f}",
        f"{timing.p50:.1f}",
        f"{timing.p90:.1f}",
        f"{timing.p99:.1f}",
        f"{result.cpu_ms:.1f}",
        f"{work.tokens_prefilled:.1f}" if work else "",
        f"{work.calls['language_model']:.2f}" if work else "",
        f"{work.flops / 1e9:.3g}" if work else "",
        f"{share.flops:.0%}" if share else "",
        _ratio(result.against_baseline),
        f"{result.cpu_against_baseline.median:.2f}" if result.cpu_against_baseline else "",
        _ratio(result.against_one_sentence),
    )


def _stage(result: BenchFigures, stage: str) -> str:
    timing = result.stages_ms.get(stage)
    return f"{timing.p50:.1f} / {timing.p99:.1f}" if timing else ""


def _name(result: BenchFigures) -> str:
    return f"{result.policy}, {result.sentences}"


def _ratio(value: Ratio | None) -> str:
    return f"{value.median:.2f} [{value.minimum:.2f}, {value.maximum:.2f}]" if value else ""


def _megabytes(value: int | None) -> str:
    return "unknown" if value is None else f"{value / 1e6:.0f}"


def columns(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Rows of cells, the first of each to the left, the others to the right of a column as wide as its widest."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        cells = [f"{cell:>{width}}" for cell, width in zip(rest, widths[1:], strict=True)]
        yield "  ".join([f"{first:{widths[0]}}", *cells]).rstrip()
