"""What this machine can do at most, timed in the run whose shares are stated."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

SIDE = 1536  # of the square matrices: large enough that a product is limited by arithmetic
COPIED_BYTES = 256 << 20  # beyond every cache
REPEATS = 6


@dataclass(frozen=True)
class MachinePeak:
    """The best of several timings each, on all of the processor's cores or on a GPU."""

    dtype: str  # of the matrices: 'float32' or 'float16'
    flops_per_second: float  # of a matrix product
    bytes_per_second: float  # of a copy, read and written bytes together


def measure_peak() -> MachinePeak:
    """Of the processor, its product by numpy's BLAS. Takes about a second."""
    random = np.random.default_rng(0)
    left, right = (random.standard_normal((SIDE, SIDE), np.float32) for _ in range(2))
    product = np.empty_like(left)
    source = np.ones(COPIED_BYTES // 8)
    target = np.zeros_like(source)
    return MachinePeak(
        dtype="float32",
        flops_per_second=2 * SIDE**3 / _best(lambda: np.matmul(left, right, out=product)),
        bytes_per_second=2 * COPIED_BYTES / _best(lambda: np.copyto(target, source)),
    )


def _best(action: Callable[[], object]) -> float:
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
