import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from glus_edge.runtime.kv_cache import KeyValueCache

PREFIX = 3
CAPACITY = 64

rows = st.lists(st.integers(-6, 6), min_size=1, max_size=8)
batches = st.integers(1, 3).flatmap(
    lambda sentences: st.lists(st.lists(rows, min_size=sentences, max_size=sentences), min_size=1, max_size=6)
)


class Model:
    """What a causal model would hold: in every slot the row and position written there, for each sentence."""

    def __init__(self, sentences: int) -> None:
        self.slots: list[list[tuple[int, int] | None]] = [[None] * CAPACITY for _ in range(sentences)]


@given(batches)
@settings(max_examples=300, deadline=None)
def test_every_query_sees_exactly_the_rows_before_it_in_its_prompt(batch):
    sentences = len(batch[0])
    cache, model = KeyValueCache(sentences, PREFIX, CAPACITY), Model(sentences)
    for prompts in batch:
        prefill = cache.plan([np.array(prompt, np.int64) for prompt in prompts])
        cache.record(prefill)
        for b, prompt in enumerate(prompts):
            pad = prefill.new_tokens - int(prefill.lengths[b])
            for i in range(prefill.new_tokens):
                model.slots[b][prefill.past + i] = (int(prefill.rows[b, i]), int(prefill.positions[b, i]))
            for i in range(pad, prefill.new_tokens):
                mask = prefill.attention_mask[b, i]
                assert (mask[:PREFIX] == 0).all()
                seen = [
                    model.slots[b][slot]
                    for slot in range(prefill.past + prefill.new_tokens)
                    if mask[PREFIX + slot] == 0
                ]
                position = int(prefill.positions[b, i])
                expected = [(row, PREFIX + p) for p, row in enumerate(prompt) if PREFIX + p <= position]
                assert sorted(seen, key=lambda entry: entry[1]) == expected
            assert int(prefill.positions[b, -1]) == PREFIX + len(prompt) - 1
            for slot in range(prefill.past):
                if prefill.attention_mask[b, -1, PREFIX + slot] == 0:
                    assert prefill.past_positions[b, slot] == model.slots[b][slot][1]


@given(batches)
@settings(max_examples=100, deadline=None)
def test_no_row_of_the_mask_is_empty_so_that_a_softmax_is_never_undefined(batch):
    cache = KeyValueCache(len(batch[0]), PREFIX, CAPACITY)
    for prompts in batch:
        prefill = cache.plan([np.array(prompt, np.int64) for prompt in prompts])
        cache.record(prefill)
        assert (prefill.attention_mask == 0).any(axis=-1).all()


def test_a_prompt_that_continues_another_computes_only_what_is_new():
    cache = KeyValueCache(1, PREFIX, CAPACITY)
    cache.record(cache.plan([np.array([5, 6, 7, 8])]))
    prefill = cache.plan([np.array([5, 6, 7, 9, 10])])
    assert prefill.past == 3
    assert prefill.rows.tolist() == [[9, 10]]


def test_the_last_row_is_computed_even_if_the_whole_prompt_is_cached():
    cache = KeyValueCache(1, PREFIX, CAPACITY)
    cache.record(cache.plan([np.array([5, 6, 7])]))
    assert cache.plan([np.array([5, 6, 7])]).rows.tolist() == [[7]]


def test_a_prompt_that_begins_otherwise_reuses_nothing():
    cache = KeyValueCache(1, PREFIX, CAPACITY)
    cache.record(cache.plan([np.array([5, 6, 7])]))
    prefill = cache.plan([np.array([4, 6, 7])])
    assert (prefill.past, prefill.new_tokens) == (0, 3)


def test_sentences_of_different_length_are_padded_on_the_left():
    prefill = KeyValueCache(2, PREFIX, CAPACITY).plan([np.array([5, 6, 7]), np.array([8])])
    assert prefill.rows[1, -1] == 8
    assert prefill.positions[1, -1] == PREFIX
    assert prefill.lengths.tolist() == [3, 1]
