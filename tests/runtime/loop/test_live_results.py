"""Live frames and how they kept up."""

import numpy as np
import pytest

from glus_edge.runtime.errors import InputError
from glus_edge.runtime.loop.live_results import live_results
from glus_edge.runtime.loop.result import FrameResult
from glus_edge.runtime.video.live_source import LiveFrame

RGB = np.zeros((2, 2, 3), np.uint8)


def arrivals(*numbers):
    return [LiveFrame(RGB, number, float(number), 0.0) for number in numbers]


def push(rgb, *, may_ask):
    return FrameResult(0, np.zeros((0, 2, 2), np.bool_), (), {}, asked=may_ask)


def test_what_was_passed_over_is_counted_from_the_first_frame():
    every = list(live_results(arrivals(2, 3, 7), push, None))
    assert [(each.arrival.number, each.passed_over) for each in every] == [(2, 2), (3, 0), (7, 3)]
    assert all(each.latency_ms > 0 for each in every)


def test_a_deadline_that_cannot_be_met_asks_until_that_is_known_and_without_one_always():
    asked = [each.result.asked for each in live_results(arrivals(*range(40)), push, 1e-6)]
    assert asked[:4] == [True, True, False, False]
    assert sum(asked) == 3  # at the latest every 30th
    assert all(each.result.asked for each in live_results(arrivals(*range(40)), push, None))


def test_a_deadline_that_is_none_is_refused():
    with pytest.raises(InputError, match="deadline: got 0 ms"):
        next(live_results(arrivals(0), push, 0))
