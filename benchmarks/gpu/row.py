"""A row of the GPU benchmark's table."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from glus_edge.runtime.errors import GlusEdgeError

WARM_UP = 5  # calls not counted
MEASURED = 25
LONGEST_NOTE = 300  # characters

_COLUMNS = (("p50 ms", 9), ("p90 ms", 9), ("cosine", 10), ("rel. L2", 10), ("share", 7), ("plan MB", 9))
HEADER = f"{'backend':<18}{'graph':<18}{'':<12}" + "".join(f"{name:>{width}}" for name, width in _COLUMNS)


@dataclass(frozen=True)
class GpuRow:
    """One graph on one backend, or whole frames."""

    backend: str
    graph: str
    precision: str
    p50_ms: float | None = None
    p90_ms: float | None = None
    cosine: float | None = None  # smallest over outputs and calls, against ONNX Runtime in float32 on the CPU
    relative_l2: float | None = None  # largest
    share: float | None = None  # of the roofline, 0..1
    build_s: float | None = None
    plan_mb: float | None = None
    note: str = ""  # why there is no figure, or what the figure holds


def row_of_times(row: GpuRow, times: Sequence[float], **others: Any) -> GpuRow:
    """The row with the median and the ninth decile of these milliseconds, and other fields."""
    return replace(row, p50_ms=statistics.median(times), p90_ms=statistics.quantiles(times, n=10)[-1], **others)


def failure_note(error: Exception) -> str:
    """What a row says that could not be measured, on one line: the error's type and text, of ours the text alone."""
    text = " ".join(str(error).split())[:LONGEST_NOTE]
    return text if isinstance(error, GlusEdgeError) else f"{type(error).__name__}: {text}"


def table_line(row: GpuRow) -> str:
    """One line of the table."""
    figures = [(row.p50_ms, ".3f", 9), (row.p90_ms, ".3f", 9), (row.cosine, ".5f", 10), (row.relative_l2, ".1e", 10)]
    figures += [(row.share, ".0%", 7), (row.plan_mb, ".1f", 9)]
    cells = "".join(f"{'' if value is None else format(value, form):>{width}}" for value, form, width in figures)
    return f"{row.backend:<18}{row.graph:<18}{row.precision:<12}{cells}  {row.note}".rstrip()
