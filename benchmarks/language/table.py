"""What was measured of one language step, as figures and as people read them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from glus_edge.benchmarks.instruments.environment import Environment
from glus_edge.benchmarks.instruments.statistics import Ratio, ratio
from glus_edge.benchmarks.language.prefill import PrefillCase
from glus_edge.benchmarks.language.products import KINDS, ROWS, SIDE
from glus_edge.benchmarks.latency.bench_table import columns


@dataclass(frozen=True)
class StepFigures:
    """One way to compute the step."""

    name: str
    seconds: list[float] = field(default_factory=list)  # of a call, one a round
    flops_per_second: float | None = None  # by the median call
    shares: dict[str, Ratio] = field(default_factory=dict)  # of each product's rate in the same round, 0..1
    against_llama_cpp: Ratio | None = None  # times as fast, round by round
    note: str = ""  # why there are no figures


@dataclass(frozen=True)
class LanguageReport:
    """A run."""

    size: str  # of SIZES
    layers: int
    all_layers: int  # that the size has
    prefill: PrefillCase
    flops: int  # of a call: matrix products as our graph does them
    products: dict[str, float]  # best rate of each of KINDS, FLOP/s
    rows: list[StepFigures]


def figures(
    name: str,
    seconds: Sequence[float],
    flops: int,
    product_seconds: Mapping[str, Sequence[float]],
    llama_cpp: Sequence[float] | None,
) -> StepFigures:
    """product_seconds: of one FLOP of each kind of product, one a round; llama_cpp: of a call, None where it is missing."""
    each = [call / flops for call in seconds]
    return StepFigures(
        name,
        list(seconds),
        flops / median(seconds),
        {kind: ratio(fastest, each) for kind, fastest in product_seconds.items()},
        None if llama_cpp is None else ratio(llama_cpp, seconds),
    )


def table(report: LanguageReport, where: Environment) -> Iterator[str]:
    """Lines of text."""
    prefill = report.prefill
    part = f"{report.layers} layers" if report.layers == report.all_layers else _subset(report)
    rates = ", ".join(f"{kind} {rate / 1e9:.0f}" for kind, rate in report.products.items())
    yield f"{where.processor.name}, {prefill.threads} threads, {where.date}"
    yield (
        f"{report.size} with random weights, {part}: {prefill.new} new rows on {prefill.cached} cached, "
        f"{report.flops / 1e9:.4g} GFLOP a call"
    )
    yield f"products of {ROWS} x {SIDE} x {SIDE} here, GFLOP/s: {rates}"
    yield ""
    head = ("", "ms", "[least, most]", "GFLOP/s", *(f"of {kind}" for kind in KINDS), "x llama.cpp")
    yield from columns([head, *(_row(figures) for figures in report.rows if not figures.note)])
    for row in report.rows:
        if row.note:
            yield f"{row.name}: {row.note}"


def _subset(report: LanguageReport) -> str:
    return f"the first {report.layers} of its {report.all_layers} layers only"


def _row(row: StepFigures) -> tuple[str, ...]:
    ms = [1e3 * seconds for seconds in row.seconds]
    against = row.against_llama_cpp
    return (
        row.name,
        f"{median(ms):.1f}",
        f"[{min(ms):.1f}, {max(ms):.1f}]",
        f"{(row.flops_per_second or 0) / 1e9:.0f}",
        *(f"{row.shares[kind].median:.0%}" for kind in KINDS),
        "" if against is None else f"{against.median:.2f} [{against.minimum:.2f}, {against.maximum:.2f}]",
    )
