from hypothesis import given
from hypothesis import strategies as st

from glus_edge.benchmarks.profiler.stream_search import most_streams


@given(st.integers(0, 80), st.integers(1, 64))
def test_the_largest_number_that_passes_is_found_in_few_trials(capacity: int, maximum: int) -> None:
    tried: list[int] = []

    def passes(streams: int) -> bool:
        tried.append(streams)
        return streams <= capacity

    assert most_streams(passes, lambda streams: True, maximum) == min(capacity, maximum)
    assert len(tried) <= 2 * maximum.bit_length() + 1
    assert max(tried) <= maximum


@given(st.integers(1, 64), st.integers(0, 64))
def test_what_passed_by_luck_is_not_the_answer(lucky: int, capacity: int) -> None:
    found = most_streams(lambda streams: streams <= lucky, lambda streams: streams <= capacity, 64)
    assert found == min(lucky, capacity)
