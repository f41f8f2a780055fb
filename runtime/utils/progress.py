"""Progress of the steps a person waits for: a bar on a terminal, nothing anywhere else."""

import sys
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")

PATIENCE_S = 2.0  # a step shorter than this shows no bar


class Progress(Protocol):
    """Hands the items through and may show how far it is."""

    def __call__(self, items: Iterable[T], total: int | None, label: str) -> Iterator[T]:
        """`total`: how many items there will be, None if unknown. `label`: what is done, for the reader."""
        ...


def silent(items: Iterable[T], total: int | None, label: str) -> Iterator[T]:
    """Shows nothing: the library's default."""
    yield from items


def terminal_bar(items: Iterable[T], total: int | None, label: str) -> Iterator[T]:
    """A bar on stderr if that is a terminal and the step takes over two seconds: the command line's choice."""
    if not sys.stderr.isatty():
        yield from items
        return
    from tqdm import tqdm

    yield from tqdm(items, total=total, desc=label, unit="frame", delay=PATIENCE_S, leave=False, file=sys.stderr)
