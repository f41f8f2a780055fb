"""Whether the language model may be asked about a frame and its masks still be in time. Pure Python."""

import statistics
from collections import deque

from glus_edge.runtime.errors import InputError

_REMEMBERED = 5  # frames asked about last; the next is expected to take their median


class Deadline:
    """Puts off the language model's question where it would make a frame's masks late.

    A frame that is not asked about is segmented with the last segment embedding, which costs a fraction. What an asked
    frame takes is learned as frames come; until it is known, and every `longest` frames, the question is let through, late
    or not: masks from an embedding that old follow nothing any more.
    """

    def __init__(self, deadline_ms: float, longest: int = 30) -> None:
        """`deadline_ms`: from a frame's arrival to its masks. InputError: it is not above 0."""
        if not deadline_ms > 0:
            raise InputError(f"deadline: got {deadline_ms:g} ms, expected more than 0")
        self.deadline_ms = deadline_ms
        self._longest = longest
        self._spent_ms: deque[float] = deque(maxlen=_REMEMBERED)
        self._age = 0  # frames since one was asked about
        self._begun = False  # the first frame warms up the engines and reads the context: it says nothing of later ones

    def allows(self, waited_ms: float) -> bool:
        """Whether a frame that arrived `waited_ms` ago may be asked about."""
        if not self._spent_ms or self._age + 1 >= self._longest:
            return True
        return waited_ms + statistics.median(self._spent_ms) <= self.deadline_ms

    def record(self, asked: bool, spent_ms: float) -> None:
        """Learns what a frame took; `asked`: the language model was asked about it."""
        self._age = 0 if asked else self._age + 1
        if asked and self._begun:
            self._spent_ms.append(spent_ms)
        self._begun = True
