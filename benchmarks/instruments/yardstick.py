"""A fixed piece of work, timed beside what is measured: it shows how fast the machine is at that moment."""

import time
from collections.abc import Callable

import numpy as np

_SIDE, _COPIED_BYTES, _REPEATS = 128, 16 << 20, 3
_ROUNDS = 200  # of the sines


class YardstickWork:
    """Its arrays are made once. One measurement takes some 50 ms."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self._left, self._right = (random.standard_normal((_SIDE, _SIDE)).astype(np.float32) for _ in range(2))
        self._source = np.ones(_COPIED_BYTES // 8)
        self._target = np.zeros_like(self._source)

    def arithmetic_ms(self) -> float:
        """Sines of numbers that fit into a core's cache: arithmetic on one thread, the median of several."""
        return _median_ms(lambda: [np.sin(self._left, out=self._right) for _ in range(_ROUNDS)])

    def copy_ms(self) -> float:
        """A copy that fits into no core's cache, the median of several."""
        return _median_ms(lambda: np.copyto(self._target, self._source))


def _median_ms(work: Callable[[], object]) -> float:
    times = []
    for _ in range(_REPEATS):
        begin = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - begin))
    return float(np.median(times))
