"""Milliseconds per stage of one frame."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Adds up wall time under stage names; `drain` hands the times over and starts again."""

    def __init__(self) -> None:
        self._stages: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times the block; a stage entered twice counts both."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._stages[name] = self._stages.get(name, 0.0) + (time.perf_counter() - start) * 1e3

    def drain(self) -> dict[str, float]:
        """The times so far, in the order the stages first ran."""
        stages, self._stages = self._stages, {}
        return stages
