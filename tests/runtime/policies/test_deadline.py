import pytest
from hypothesis import given
from hypothesis import strategies as st

from glus_edge.runtime.errors import InputError
from glus_edge.runtime.policies.deadline import Deadline


@pytest.mark.parametrize("deadline", [0, -1, float("nan")])
def test_a_deadline_lies_ahead(deadline: float) -> None:
    with pytest.raises(InputError, match="deadline: got .* ms, expected more than 0"):
        Deadline(deadline)


def test_the_question_is_let_through_where_there_is_time_for_it() -> None:
    deadline = Deadline(100)
    for spent in (900, 60):
        assert deadline.allows(1000)  # nothing is known yet, and of the first frame nothing is learned
        deadline.record(True, spent)
    assert deadline.allows(40)
    assert not deadline.allows(41)


def test_one_slow_answer_among_others_changes_nothing() -> None:
    deadline = Deadline(100)
    for spent in (60, 60, 900, 60):
        deadline.record(True, spent)
    assert deadline.allows(0)


def test_a_question_that_never_fits_is_let_through_now_and_then() -> None:
    deadline, asked = Deadline(100, longest=30), []
    for frame in range(100):
        may_ask = deadline.allows(0)
        deadline.record(may_ask, 500 if may_ask else 20)
        if may_ask:
            asked.append(frame)
    assert asked == [0, 1, 31, 61, 91]


@given(st.floats(1, 1e4), st.lists(st.tuples(st.booleans(), st.floats(0, 1e4)), max_size=80))
def test_it_never_refuses_for_longer_than_it_says(limit: float, frames: list[tuple[bool, float]]) -> None:
    deadline, refused = Deadline(limit, longest=10), 0
    for wanted, spent in frames:
        allowed = deadline.allows(0)
        refused = 0 if allowed else refused + 1
        assert refused <= 10
        deadline.record(allowed and wanted, spent)
