"""Percentiles of timings, and ratios with their spread."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Timing:
    """Milliseconds over the measured frames."""

    p50: float
    p90: float
    p99: float
    mean: float


@dataclass(frozen=True)
class Ratio:
    """How many times faster than the baseline, round by round."""

    median: float
    minimum: float
    maximum: float
    rounds: int


def timing(milliseconds: Sequence[float]) -> Timing:
    """At least one value."""
    p50, p90, p99 = np.percentile(milliseconds, (50, 90, 99)).tolist()
    return Timing(p50, p90, p99, float(np.mean(milliseconds)))


def ratio(slow: Sequence[float], fast: Sequence[float]) -> Ratio:
    """Of two equally long lists, one value a round."""
    ratios = [a / b for a, b in zip(slow, fast, strict=True)]
    return Ratio(float(np.median(ratios)), min(ratios), max(ratios), len(ratios))
