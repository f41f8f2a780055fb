"""Which runs of a graph recur, and so are worth capturing: decided here, executed by the library that captures."""

from typing import TypeAlias

RunKey: TypeAlias = tuple[tuple[str, int, tuple[int, ...]], ...]  # (tensor, address, shape), in the order of names

NOT_CAPTURED = -1  # the graph id of a run that is to be enqueued as it is
_MOST_GRAPHS = 32  # a library that numbers its graphs keeps every one
_MOST_SEEN = 256  # runs remembered that have come once


class RecurringRuns:
    """Numbers the runs that come a second time with the same addresses and shapes."""

    def __init__(self) -> None:
        self._seen: dict[RunKey, None] = {}
        self._ids: dict[RunKey, int] = {}

    def graph_id(self, key: RunKey) -> int:
        """The number of the graph that a run replays, or is captured as; NOT_CAPTURED for one that has not recurred."""
        if key in self._ids:
            return self._ids[key]
        if key in self._seen and len(self._ids) < _MOST_GRAPHS:
            del self._seen[key]
            self._ids[key] = len(self._ids) + 1
            return self._ids[key]
        if key not in self._seen:
            if len(self._seen) == _MOST_SEEN:
                del self._seen[next(iter(self._seen))]
            self._seen[key] = None
        return NOT_CAPTURED
