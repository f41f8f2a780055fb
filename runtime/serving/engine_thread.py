"""The one thread in which engines run: clients' frames take turns in it."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from typing import TypeVar

from glus_edge.runtime.loop.live_session import LiveSession
from glus_edge.runtime.policies.loop_rules import LoopChoice
from glus_edge.runtime.segmenter import Segmenter

T = TypeVar("T")


class EngineThread:
    """Everything that touches engines or device memory is submitted to it."""

    def __init__(self, open_segmenter: Callable[[], Segmenter], choice: LoopChoice) -> None:
        """Opens the segmenter in the thread. Errors: what `open_segmenter` raises."""
        self._choice = choice
        self._executor = ThreadPoolExecutor(1, "glus-edge-engines")
        try:
            self._segmenter = self._executor.submit(open_segmenter).result()
        except BaseException:
            self._executor.shutdown()
            raise

    def submit(self, work: Callable[[], T]) -> "Future[T]":
        """Runs `work` when those before it have had their turn."""
        return self._executor.submit(work)

    def open_session(self) -> LiveSession:
        """A live session without sentences. To be called in the thread."""
        return self._segmenter.stream([], **asdict(self._choice))

    def close(self) -> None:
        """Releases the engines, after everything that was submitted."""
        self._executor.submit(self._segmenter.close).result()
        self._executor.shutdown()
