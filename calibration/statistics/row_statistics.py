"""What is kept of the rows a matrix reads: sums over all of them, a few as they are."""

import torch

from glus_edge.runtime.errors import InputError


class RowStatistics:
    """Running mean and largest magnitude per channel, and an even sample of rows; memory does not grow with the rows."""

    def __init__(self, name: str, channels: int, sample: int) -> None:
        """`sample`: rows kept at most."""
        self._name = name
        self._sum = torch.zeros(channels, dtype=torch.float64)
        self._largest = torch.zeros(channels)
        self._count = 0
        self._every = 1  # one row in so many is kept
        self._limit = sample
        self._store = torch.empty(0, channels)
        self._places = torch.empty(0, dtype=torch.int64)  # of the kept rows among all

    def add(self, rows: torch.Tensor) -> None:
        """rows [..., K]. Raises InputError naming the matrix where one is not finite."""
        flat = rows.detach().reshape(-1, rows.shape[-1]).float()
        magnitude = flat.abs()
        if not bool(torch.isfinite(magnitude.amax())):
            raise InputError(
                f"{self._name}: its inputs hold NaN or infinity on these videos, expected finite activations; "
                "calibrate from an fp32 bundle, or copy the checkpoint again"
            )
        self._sum += magnitude.sum(0, dtype=torch.float64)
        self._largest = torch.maximum(self._largest, magnitude.amax(0))
        total = self._count + len(flat)
        while -(-total // self._every) > self._limit:
            self._every *= 2
        stay = self._places % self._every == 0
        first = -self._count % self._every
        new = flat[first :: self._every]
        self._store = torch.cat([self._store[stay], new])
        self._places = torch.cat([self._places[stay], self._count + first + self._every * torch.arange(len(new))])
        self._count = total

    @property
    def rows(self) -> torch.Tensor:
        """The sample, [n, K] float32, at least one row once any was added."""
        return self._store

    @property
    def magnitude(self) -> torch.Tensor:
        """Mean |x| per channel, [K] float32."""
        return (self._sum / max(1, self._count)).float()

    @property
    def largest(self) -> torch.Tensor:
        """Largest |x| per channel, [K] float32."""
        return self._largest
