"""SIGTERM, by which services and containers are stopped, ends a command as Ctrl-C does."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """While in the block SIGTERM raises KeyboardInterrupt, if the main thread enters; signals are its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def interruption_put_off(note: Callable[[], None]) -> Iterator[None]:
    """While in the block what would raise KeyboardInterrupt calls `note`, however often; it is raised behind the block.

    Only the main thread gets signals; in another one the block is run as it is.
    """
    noted: list[int] = []

    def put_off(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        note()

    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    heeded = {number: handler for number, handler in before.items() if callable(handler)}
    for number in heeded:
        signal.signal(number, put_off)
    try:
        yield
    finally:
        for number, handler in heeded.items():
            signal.signal(number, handler)
    if noted:
        raise KeyboardInterrupt


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
