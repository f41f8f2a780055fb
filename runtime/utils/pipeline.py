"""Stages side by side: what comes before and after the engines runs in threads of its own, in order, with bounded queues."""

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")

_PATIENCE_S = 0.1  # between looks at whether the other side has given up


class _End:
    """Closes a queue; carries the error that ended the other side, if one did."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def ahead(items: Iterator[T], depth: int = 2) -> Generator[T, None, None]:
    """The same items in the same order, up to `depth` of them made in advance by a thread.

    An error of `items` is raised where its item would have come. Closing the iterator stops the thread.
    """
    waiting: queue.Queue[T | _End] = queue.Queue(depth)
    stopped = threading.Event()

    def fill() -> None:
        end = _End()
        try:
            for item in items:
                if not _put(waiting, item, stopped):
                    return
        except BaseException as error:  # noqa: BLE001 - handed to the consumer, who raises it
            end = _End(error)
        _put(waiting, end, stopped)

    thread = threading.Thread(target=fill, name="glus-edge-ahead", daemon=True)
    thread.start()
    try:
        while not isinstance(item := waiting.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stopped.set()
        thread.join()


class Behind(Generic[T]):
    """Hands items to a worker in a thread, in order, at most `depth` of them waiting. Use it as a context manager.

    Leaving the block waits until all are done; interrupted, until the one that is worked on is. An error of the worker
    ends the thread and is raised by the next `put`, or on leaving; items after it are not worked on.
    """

    def __init__(self, work: Callable[[T], None], depth: int = 2) -> None:
        self._work = work
        self._waiting: queue.Queue[T | _End] = queue.Queue(depth)
        self._failed = threading.Event()
        self._given_up = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="glus-edge-behind", daemon=True)

    def put(self, item: T) -> None:
        """Queues an item, waiting while the queue is full."""
        if not _put(self._waiting, item, self._failed):
            self._raise()

    def __enter__(self) -> "Behind[T]":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._join()
        except BaseException:  # Ctrl-C: what the worker writes to is closed next, so it must not be at work any more
            self._given_up.set()
            self._join()
            raise
        if kind is None:
            self._raise()

    def _join(self) -> None:
        _put(self._waiting, _End(), self._failed)
        self._thread.join()

    def _run(self) -> None:
        try:
            while not isinstance(item := self._waiting.get(), _End):
                if not self._given_up.is_set():
                    self._work(item)
        except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
            self._error = error
            self._failed.set()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error


def _put(waiting: "queue.Queue[T | _End]", item: T | _End, stopped: threading.Event) -> bool:
    """Whether the item was queued before the other side stopped."""
    while not stopped.is_set():
        try:
            waiting.put(item, timeout=_PATIENCE_S)
        except queue.Full:
            continue
        return True
    return False
