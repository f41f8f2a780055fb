"""Padding changes the shapes of a prefill and nothing that is seen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glus_edge.runtime.errors import EngineError
from glus_edge.runtime.language.kv_cache import KeyValueCache
from glus_edge.runtime.language.shape_plan import NO_ROW, padded

PREFIX, CAPACITY = 3, 96
prompts = st.lists(st.lists(st.integers(-6, 6), min_size=1, max_size=20), min_size=2, max_size=2)


@given(st.lists(prompts, min_size=1, max_size=5))
@settings(max_examples=200, deadline=None)
def test_a_padded_prefill_holds_the_same_rows_at_the_same_positions(batch):
    cache = KeyValueCache(2, PREFIX, CAPACITY)
    for step in batch:
        prefill = cache.plan([np.array(prompt, np.int64) for prompt in step])
        cache.record(prefill)
        shape = padded(prefill, (4, 8, 20), CAPACITY)
        assert shape.positions.shape == (2, prefill.new_tokens + shape.pad)
        assert shape.positions.shape[1] in (4, 8, 20)
        assert (shape.positions[:, : shape.pad] == NO_ROW).all()
        held_past, held_new = prefill.held[:, : prefill.past], prefill.held[:, prefill.past :]
        assert ((shape.positions[:, shape.pad :] != NO_ROW) == held_new).all()
        assert (shape.positions[:, shape.pad :][held_new] == prefill.positions[held_new]).all()
        assert shape.past_positions.shape == (2, CAPACITY)
        assert ((shape.past_positions[:, : prefill.past] != NO_ROW) == held_past).all()
        assert (shape.past_positions[:, : prefill.past][held_past] == prefill.past_positions[held_past]).all()
        assert (shape.past_positions[:, prefill.past :] == NO_ROW).all()


def test_more_rows_than_the_largest_size_is_one_line():
    prefill = KeyValueCache(1, 0, CAPACITY).plan([np.arange(21)])
    with pytest.raises(EngineError, match=r"got 21 new_tokens, expected 1 to 20.*build it with larger limits"):
        padded(prefill, (4, 20), CAPACITY)
