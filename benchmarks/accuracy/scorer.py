"""Scores frames in a process of its own, beside the engines: masks go there packed, eight pixels a byte."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from types import TracebackType
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from glus_edge.benchmarks.metrics.metric import Metric, Truth
from glus_edge.runtime.errors import GlusEdgeError

Values = NDArray[np.float64]  # [sentences, columns], see Metric.frame
_DEPTH = 32  # frames on their way; more would only take memory


class Scorer(Protocol):
    """Scores frames."""

    def submit(self, metric: Metric, masks: NDArray[np.bool_], truth: Truth) -> Callable[[], Values]:
        """Begins to score one frame, see Metric.frame; what comes back waits for the values."""
        ...


class InlineScorer:
    """Scores at once, in the caller's thread."""

    def submit(self, metric: Metric, masks: NDArray[np.bool_], truth: Truth) -> Callable[[], Values]:
        """See Scorer."""
        values = metric.frame(masks, truth)
        return lambda: values


class ProcessScorer:
    """Scores in another process. Use it as a context manager.

    Errors of `submit` and of what it gives: GlusEdgeError, the process is gone.
    """

    def __init__(self) -> None:
        self._executor = ProcessPoolExecutor(
            1, mp_context=multiprocessing.get_context("spawn"), initializer=_live_and_die_with_the_parent
        )
        self._waiting: deque[Future[Values]] = deque()

    def submit(self, metric: Metric, masks: NDArray[np.bool_], truth: Truth) -> Callable[[], Values]:
        """See Scorer."""
        while len(self._waiting) >= _DEPTH:
            _result(self._waiting.popleft())
        packed = {name: _packed(value) for name, value in truth.items()}
        try:
            future = self._executor.submit(_frame, metric, _packed(masks), packed)
        except BrokenProcessPool as error:
            raise _gone() from error
        self._waiting.append(future)
        return lambda: _result(future)

    def __enter__(self) -> "ProcessScorer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._executor.shutdown(cancel_futures=True)


class Packed(NamedTuple):
    """A boolean array with eight values a byte."""

    shape: tuple[int, ...]
    bits: NDArray[np.uint8]


def pack(array: NDArray[np.bool_]) -> Packed:
    """See Packed."""
    return Packed(array.shape, np.packbits(array))


def unpack(packed: Packed) -> NDArray[np.bool_]:
    """The array that was packed."""
    return np.unpackbits(packed.bits, count=int(np.prod(packed.shape))).reshape(packed.shape).view(np.bool_)


def _packed(array: NDArray[Any]) -> "Packed | NDArray[Any]":
    return pack(array) if array.dtype == np.bool_ else array


def _unpacked(value: "Packed | NDArray[Any]") -> NDArray[Any]:
    return unpack(value) if isinstance(value, Packed) else value


def _frame(metric: Metric, masks: "Packed | NDArray[Any]", truth: "dict[str, Packed | NDArray[Any]]") -> Values:
    return metric.frame(_unpacked(masks), {name: _unpacked(value) for name, value in truth.items()})


def _result(future: Future[Values]) -> Values:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise _gone() from error


def _gone() -> GlusEdgeError:
    return GlusEdgeError(
        "the process that scores has ended, expected it to run on (was it killed, or is memory short?); run the command "
        "again: finished videos are kept"
    )


def _live_and_die_with_the_parent() -> None:
    """Ctrl-C is the parent's to handle; a parent that is killed closes no queue, so its end is watched."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="glus-edge-parent", daemon=True).start()
