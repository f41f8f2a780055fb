"""How far an activation's 8 bits reach: its largest magnitude, a percentile of it, or what errs least."""

import numpy as np
from numpy.typing import NDArray

METHODS = ("max", "percentile", "mse")
BINS = 2048
PERCENTILE = 99.99
LEVELS = {"int8": 127.0, "fp8": 448.0}  # largest representable value over the scale
SMALLEST = 1e-8  # of a range: a tensor of zeros still needs a scale above zero


class MagnitudeHistogram:
    """Counts of |x| in bins from 0; the bins widen twofold whenever something larger comes."""

    def __init__(self) -> None:
        self._counts = np.zeros(BINS)
        self._limit = 0.0  # upper edge of the last bin
        self.largest = 0.0

    def add(self, values: NDArray[np.floating]) -> None:
        """Values of any shape, finite."""
        magnitude = np.abs(values.astype(np.float32)).ravel()
        largest = float(magnitude.max(initial=0.0))
        self.largest = max(self.largest, largest)
        if not self._limit:
            if not largest:
                self._counts[0] += len(magnitude)  # zeros lie in the first bin, however wide
                return
            self._limit = max(largest, SMALLEST)
        while self._limit < largest:
            self._counts = np.concatenate([self._counts.reshape(-1, 2).sum(axis=1), np.zeros(BINS // 2)])
            self._limit *= 2
        self._counts += np.histogram(magnitude, BINS, (0.0, self._limit))[0]

    def reach(self, method: str, levels: float) -> float:
        """The magnitude that the largest of `levels` steps stands for. method: one of METHODS."""
        assert method in METHODS, method
        if method == "max" or not self._limit:
            return max(self.largest, SMALLEST)
        if method == "percentile":
            shares = np.cumsum(self._counts) / self._counts.sum()
            return max(float(np.searchsorted(shares, PERCENTILE / 100) + 1) * self._limit / BINS, SMALLEST)
        return max(self._least_error(levels), SMALLEST)

    def _least_error(self, levels: float) -> float:
        """Beyond the range a value errs by its distance to it, within by a step's twelfth squared, or by all of itself
        where it is rounded to zero.
        """
        centres = (np.arange(BINS) + 0.5) * self._limit / BINS
        best, least = self.largest, np.inf
        for last in range(BINS // 64, BINS + 1, BINS // 256):
            reach = last * self._limit / BINS
            step = reach / levels
            within = np.where(centres < step / 2, centres**2, step**2 / 12)
            error = float(self._counts @ np.where(centres <= reach, within, (centres - reach) ** 2))
            if error < least:
                best, least = min(reach, self.largest), error
        return float(best)
