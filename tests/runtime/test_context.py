import pytest
from hypothesis import given
from hypothesis import strategies as st

from glus_edge.runtime.context import uniform_context


@pytest.mark.parametrize(("frames", "expected"), [(14, (2, 5, 9, 12)), (23, (3, 8, 14, 20)), (4, (0, 1, 2, 3))])
def test_context_frames_are_the_references(frames, expected):
    assert uniform_context(frames, 4) == expected


@given(st.integers(1, 100_000), st.integers(1, 9))
def test_every_context_frame_exists_and_they_are_in_order(frames, count):
    context = uniform_context(frames, count)
    assert len(context) == count
    assert list(context) == sorted(context)
    assert all(0 <= index < frames for index in context)
