"""Runs get a graph's number when they recur, and never another run's."""

from hypothesis import given
from hypothesis import strategies as st

from glus_edge.runtime.backends.recurring_runs import NOT_CAPTURED, RecurringRuns


def key(address, shape=(1,)):
    return (("tensor", address, shape),)


def test_a_run_is_captured_at_its_second_coming_and_replayed_from_then_on():
    runs = RecurringRuns()
    assert [runs.graph_id(key(256)) for _ in range(3)] == [NOT_CAPTURED, 1, 1]
    assert [runs.graph_id(key(512)) for _ in range(3)] == [NOT_CAPTURED, 2, 2]
    assert runs.graph_id(key(256, (2,))) == NOT_CAPTURED  # another shape at the same address is another run


@given(st.lists(st.integers(0, 60)))
def test_no_two_runs_share_a_graph_and_there_are_at_most_32(addresses):
    runs, numbers = RecurringRuns(), {}
    for address in addresses:
        number = runs.graph_id(key(address))
        assert number == NOT_CAPTURED or 1 <= number <= 32
        if number != NOT_CAPTURED:
            assert numbers.setdefault(number, address) == address


def test_runs_that_come_once_are_not_remembered_for_ever():
    runs = RecurringRuns()
    for address in range(1000):
        runs.graph_id(key(address))
    assert runs.graph_id(key(999)) == 1
    assert runs.graph_id(key(0)) == NOT_CAPTURED  # forgotten
