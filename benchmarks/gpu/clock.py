"""Where the GPU benchmark's minutes go, and when they are up."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from glus_edge.runtime.tensorrt.build_progress import BuildMonitor


class Clock:
    """Seconds of each phase since the benchmark began, against what it may take."""

    def __init__(self, budget_s: float) -> None:
        self.budget_s = budget_s
        self.phases: dict[str, float] = {}
        self._start = time.perf_counter()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Times the block; a phase entered twice counts both."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - start)

    def add(self, name: str, seconds: float) -> None:
        """Charges a phase that was timed elsewhere, perhaps beside others."""
        self.phases[name] = self.phases.get(name, 0.0) + seconds

    @property
    def elapsed_s(self) -> float:
        """Since the beginning."""
        return time.perf_counter() - self._start

    def left_s(self, kept_s: float = 0.0) -> float:
        """What may still be used if `kept_s` is to be left for others; negative where it is over."""
        return self.budget_s - kept_s - self.elapsed_s


class BuildDeadline(BuildMonitor):
    """Stops a compilation when the clock leaves no more than `kept_s`."""

    def __init__(self, clock: Clock, kept_s: float) -> None:
        super().__init__()
        self._clock, self._kept_s = clock, kept_s

    def step(self, phase: str, step: int) -> bool:
        """See BuildMonitor."""
        self.cancelled = self.cancelled or self._clock.left_s(self._kept_s) < 0
        return super().step(phase, step)
