import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glus_edge.runtime.language.kv_cache import KeyValueCache

PREFIX = 3
CAPACITY = 96

rows = st.lists(st.integers(-6, 6), min_size=1, max_size=8)
# one step: a prompt for each sentence, and how many leading rows each sentence drops beforehand
batches = st.integers(1, 3).flatmap(
    lambda sentences: st.lists(
        st.tuples(
            st.lists(rows, min_size=sentences, max_size=sentences),
            st.lists(st.integers(0, 3), min_size=sentences, max_size=sentences),
        ),
        min_size=1,
        max_size=7,
    )
)


class Brute:
    """What is physically in every slot: (row, where it stands now). Nothing is ever forgotten, only written over."""

    def __init__(self, sentences):
        self.slots = [{} for _ in range(sentences)]

    def drop(self, counts):
        for slots, count in zip(self.slots, counts, strict=True):
            for slot, (row, position) in slots.items():
                slots[slot] = (row, position - count)

    def write(self, prefill):
        for b, slots in enumerate(self.slots):
            for i in range(prefill.new_tokens):
                slots[prefill.start + i] = (int(prefill.rows[b, i]), int(prefill.positions[b, i]))


@given(batches)
@settings(max_examples=400, deadline=None)
def test_every_query_sees_exactly_the_rows_before_it_in_its_prompt(batch):
    sentences = len(batch[0][0])
    cache, brute = KeyValueCache(sentences, PREFIX, CAPACITY), Brute(sentences)
    for prompts, drops in batch:
        cache.drop_leading(drops)
        brute.drop(drops)
        prefill = cache.plan([np.array(prompt, np.int64) for prompt in prompts])
        masks = prefill.attention_mask()
        cache.record(prefill)
        before = [dict(slots) for slots in brute.slots]
        brute.write(prefill)
        for b, prompt in enumerate(prompts):
            pad = prefill.new_tokens - int(prefill.lengths[b])
            for i in range(pad, prefill.new_tokens):
                mask = masks[b, i]
                assert (mask[:PREFIX] == 0).all()
                seen = [before[b][slot] for slot in range(prefill.past) if mask[PREFIX + slot] == 0]
                seen += [
                    (int(prefill.rows[b, j]), int(prefill.positions[b, j]))
                    for j in range(prefill.new_tokens)
                    if mask[PREFIX + prefill.past + j] == 0
                ]
                position = int(prefill.positions[b, i])
                expected = [(row, PREFIX + p) for p, row in enumerate(prompt) if PREFIX + p <= position]
                assert sorted(seen, key=lambda entry: entry[1]) == expected
            assert int(prefill.positions[b, -1]) == PREFIX + len(prompt) - 1
            for slot in range(prefill.past):
                if masks[b, -1, PREFIX + slot] == 0:
                    assert prefill.past_positions[b, slot] == before[b][slot][1]
                    assert not prefill.start <= slot < prefill.start + prefill.new_tokens  # never written while read


@given(batches)
@settings(max_examples=100, deadline=None)
def test_no_row_of_the_mask_is_empty_so_that_a_softmax_is_never_undefined(batch):
    cache = KeyValueCache(len(batch[0][0]), PREFIX, CAPACITY)
    for prompts, drops in batch:
        cache.drop_leading(drops)
        prefill = cache.plan([np.array(prompt, np.int64) for prompt in prompts])
        cache.record(prefill)
        assert (prefill.attention_mask() == 0).any(axis=-1).all()
        assert (
            prefill.start <= prefill.past
        )  # slots are filled from 0 without gaps: none is read that was never written


def computed(cache, prompt):
    prefill = cache.plan([np.array(prompt)])
    cache.record(prefill)
    return prefill.rows[0].tolist()


def test_a_prompt_that_continues_another_computes_only_what_is_new():
    cache = KeyValueCache(1, PREFIX, CAPACITY)
    assert computed(cache, [5, 6, 7, 8]) == [5, 6, 7, 8]
    assert computed(cache, [5, 6, 7, 9, 10]) == [9, 10]


def test_a_window_that_rolls_computes_only_what_is_new():
    cache = KeyValueCache(1, PREFIX, CAPACITY)
    computed(cache, [5, 6, 7, 8])
    cache.drop_leading([2])
    assert computed(cache, [7, 8, 9]) == [9]


def test_a_window_that_rolls_forever_needs_a_bounded_number_of_slots():
    cache = KeyValueCache(1, PREFIX, 20)
    for step in range(200):
        cache.drop_leading([4 if step > 2 else 0])
        turns = range(max(0, step - 2), step + 1)
        new = computed(cache, [10 * turn + i for turn in turns for i in range(4)] + [7])
        assert new == ([10 * step + i for i in range(4)] + [7] if step else [0, 1, 2, 3, 7])


def test_the_last_row_is_computed_even_if_the_whole_prompt_is_cached():
    cache = KeyValueCache(1, PREFIX, CAPACITY)
    computed(cache, [5, 6, 7])
    assert computed(cache, [5, 6, 7]) == [7]


def test_a_prompt_that_begins_otherwise_reuses_nothing():
    cache = KeyValueCache(1, PREFIX, CAPACITY)
    computed(cache, [5, 6, 7])
    assert computed(cache, [4, 6, 7]) == [4, 6, 7]


def test_sentences_of_different_length_are_padded_on_the_left():
    prefill = KeyValueCache(2, PREFIX, CAPACITY).plan([np.array([5, 6, 7]), np.array([8])])
    assert prefill.rows[1, -1] == 8
    assert prefill.positions[1, -1] == PREFIX
    assert prefill.lengths.tolist() == [3, 1]


def test_more_rows_than_the_cache_holds_are_a_defect_that_is_said():
    with pytest.raises(AssertionError, match="K/V cache: got 0 \\+ 4 rows, expected at most 3"):
        KeyValueCache(1, PREFIX, 3).plan([np.array([1, 2, 3, 4])])
