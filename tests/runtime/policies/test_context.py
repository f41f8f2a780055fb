import pytest
from hypothesis import given
from hypothesis import strategies as st

from glus_edge.runtime.policies.context import CausalContext, uniform_context


@pytest.mark.parametrize(("frames", "expected"), [(14, (2, 5, 9, 12)), (23, (3, 8, 14, 20)), (4, (0, 1, 2, 3))])
def test_context_frames_are_the_references(frames, expected):
    assert uniform_context(frames, 4) == expected


@given(st.integers(1, 100_000), st.integers(1, 9))
def test_every_context_frame_exists_and_they_are_in_order(frames, count):
    context = uniform_context(frames, count)
    assert len(context) == count
    assert list(context) == sorted(context)
    assert all(0 <= index < frames for index in context)


@given(st.integers(1, 6), st.integers(1, 600))
def test_live_context_is_of_the_past_bounded_and_chosen_when_it_has_doubled(count, frames):
    context, choices = CausalContext(count), []
    for index in range(frames):
        chosen = context.see(index)
        assert len(context.kept) <= 2 * count
        if chosen is not None:
            assert len(chosen) == count
            assert set(chosen) <= set(context.kept)
            choices.append(index + 1)
    assert choices == [2**k for k in range(frames.bit_length())]


def test_live_context_is_the_uniform_one_of_the_past():
    context = CausalContext(4)
    for index in range(256):
        chosen = context.see(index)
        if chosen is not None:
            assert chosen == uniform_context(index + 1, 4)
