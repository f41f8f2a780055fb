"""Live frames, each with its masks and how it kept up."""

import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from glus_edge.runtime.loop.result import FrameResult
from glus_edge.runtime.policies.deadline import Deadline
from glus_edge.runtime.video.live_source import LiveFrame


class Push(Protocol):
    """`LiveSession.push`, in whichever thread it runs."""

    def __call__(self, rgb: NDArray[np.uint8], *, may_ask: bool) -> FrameResult:
        """The masks of the next frame, uint8 [H, W, 3]."""


class LiveResult(NamedTuple):
    """One frame and what became of it."""

    arrival: LiveFrame
    result: FrameResult
    latency_ms: float  # from its arrival to its masks
    passed_over: int  # frames of the source since the one answered before


def live_results(arrivals: Iterable[LiveFrame], push: Push, deadline_ms: float | None) -> Iterator[LiveResult]:
    """Every frame in turn; with a deadline the language model is asked only where `Deadline` allows.

    Errors: InputError: no deadline above 0; those of the source and of `push`.
    """
    deadline = None if deadline_ms is None else Deadline(deadline_ms)
    last = -1
    for arrival in arrivals:
        begin = time.perf_counter()
        may_ask = deadline is None or deadline.allows(1e3 * (begin - arrival.arrived))
        result = push(arrival.rgb, may_ask=may_ask)
        end = time.perf_counter()
        if deadline is not None:
            deadline.record(result.asked, 1e3 * (end - begin))
        yield LiveResult(arrival, result, 1e3 * (end - arrival.arrived), arrival.number - last - 1)
        last = arrival.number
