"""Does memory grow with the number of frames, and by how much? Pure Python, from a series of sizes.

Memory that is filled once (arenas, caches, windows) grows at first and then no more: so only the part of a series behind
its settling counts, and a leak must show in each third of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glus_edge.benchmarks.records.machine_state import MachineSample

SETTLED_SHARE = 0.25  # of the frames, that come before memory has settled
LEAK_BYTES = 2500.0  # a frame, from which on growth is a leak: 0.25 MB in 100 frames
_PARTS = 3
_FEWEST = 12  # sizes, from which a slope can be told
_PAIRS = 400  # sizes that are compared with each other at most
RESIDENT, REST = "resident", "all else on the host"


@dataclass(frozen=True)
class MemorySlope:
    """Of one owner."""

    owner: str  # RESIDENT: the whole process
    peak_bytes: int
    bytes_a_frame: float  # the median slope between two sizes (Theil-Sen), behind the settling
    least_bytes_a_frame: float  # of the slopes of each third: growth that stops is no leak

    @property
    def leaks(self) -> bool:
        """Grows all the time, and fast enough to matter."""
        return self.least_bytes_a_frame > LEAK_BYTES and self.bytes_a_frame > LEAK_BYTES


def memory_slopes(samples: Sequence[MachineSample]) -> tuple[MemorySlope, ...]:
    """The process, what of it belongs to no owner, and each owner; empty where samples are too few to tell."""
    series: dict[str, list[tuple[int, int]]] = {}
    for sample in samples:
        for owner, size in sample.owners.items():
            series.setdefault(owner, []).append((sample.frames, size))
        if sample.resident_bytes is not None:
            series.setdefault(RESIDENT, []).append((sample.frames, sample.resident_bytes))
    slopes = {owner: memory_slope(owner, sizes) for owner, sizes in series.items()}
    return tuple(
        slope for owner in sorted(slopes, key=lambda each: (each != RESIDENT, each)) if (slope := slopes[owner])
    )


def leaking(slopes: Sequence[MemorySlope]) -> Mapping[str, MemorySlope]:
    """The owners that leak; where the process does and no owner accounts for it, REST."""
    found = {slope.owner: slope for slope in slopes if slope.leaks}
    whole = found.pop(RESIDENT, None)
    if whole is not None and sum(slope.bytes_a_frame for slope in found.values()) < whole.bytes_a_frame / 2:
        found[REST] = whole
    return found


def memory_slope(owner: str, sizes: Sequence[tuple[int, int]]) -> MemorySlope | None:
    """`sizes`: frames done and bytes then, in order. None: too few, or no frames between them."""
    if not sizes:
        return None
    values = np.array(sizes, dtype=np.float64)
    first, last = values[0, 0], values[-1, 0]
    settled = values[values[:, 0] >= first + SETTLED_SHARE * (last - first)]
    if len(settled) < _FEWEST or last <= first:
        return None
    parts = np.array_split(settled, _PARTS)
    slopes = [_theil_sen(part) for part in parts if np.ptp(part[:, 0]) > 0]
    if len(slopes) < _PARTS:
        return None
    return MemorySlope(owner, int(values[:, 1].max()), _theil_sen(settled), min(slopes))


def _theil_sen(values: NDArray[np.float64]) -> float:
    """The median of all slopes between two points: few outliers do not move it (Sen, 1968)."""
    step = max(1, len(values) // _PAIRS)
    x, y = values[::step].T
    first, second = np.triu_indices(len(x), 1)
    run = x[second] - x[first]
    kept = run > 0
    return float(np.median((y[second] - y[first])[kept] / run[kept]))
