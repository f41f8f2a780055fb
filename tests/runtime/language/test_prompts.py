"""Prompts of the shipped model, and the cache that they need."""

from dataclasses import replace

import numpy as np
import pytest

from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.shipped import shipped_bundle
from glus_edge.runtime.errors import InputError
from glus_edge.runtime.language.cache_capacity import cache_capacity
from glus_edge.runtime.language.kv_cache import KeyValueCache
from glus_edge.runtime.language.prompts import Prompts
from glus_edge.runtime.policies.window import WINDOW_POLICIES, window_policy

SENTENCES = ("the cyan square", "the green square to the left of the cyan square")


@pytest.fixture(scope="module")
def bundle():
    return Bundle.open(shipped_bundle())


@pytest.fixture(scope="module")
def prompts(bundle):
    return Prompts(SENTENCES, bundle.manifest, bundle.tokenizer())


def test_each_sentence_has_its_own_prompt_and_all_show_the_same_frames(bundle, prompts):
    settings, tokens = bundle.manifest.window, bundle.manifest.model.image_tokens
    frames = list(range(100, 100 + settings.context_frames + 2))
    rows = prompts.rows(frames)
    assert len(rows[0]) < len(rows[1])
    for each in rows:
        shown = -(each[each < 0] + 1) // tokens
        assert list(dict.fromkeys(shown.tolist())) == frames
        assert len(shown) == len(frames) * tokens


def test_a_turn_more_is_an_answered_turn_more(bundle, prompts):
    context = list(range(bundle.manifest.window.context_frames))
    one, two = (prompts.rows([*context, *range(10, 10 + turns)]) for turns in (1, 2))
    assert [len(b) - len(a) for a, b in zip(one, two, strict=True)] == prompts.turn_lengths(1)
    full = prompts.rows([*context, *range(10, 10 + bundle.manifest.window.query_frames)])
    assert prompts.longest() == max(map(len, full))


def test_a_sentence_that_does_not_fit_is_named_with_what_to_do(bundle, prompts):
    short = replace(bundle.manifest, model=replace(bundle.manifest.model, max_positions=prompts.longest() - 1))
    with pytest.raises(InputError, match=r"sentence 1: its prompt has \d+ tokens, .* shorten it by 1 tokens or more"):
        Prompts(SENTENCES, short, bundle.tokenizer())


@pytest.mark.parametrize("name", WINDOW_POLICIES)
@pytest.mark.parametrize("granule", [1, 4])
def test_a_long_run_fits_the_capacity_and_uses_all_of_it(bundle, prompts, name, granule):
    settings, prefix = bundle.manifest.window, 7
    policy = window_policy(name, settings)
    capacity = cache_capacity(prompts, len(SENTENCES), prefix, granule, settings, policy)
    cache, used, turns = KeyValueCache(len(SENTENCES), prefix, capacity, granule), 0, 0
    context = [0] * settings.context_frames
    for step in range(8 * settings.query_frames):
        window = policy.window(step)
        if window.keep:
            cache.drop_leading(prompts.turn_lengths(turns + 1 - window.turns))
        turns = window.turns
        frames = np.arange(step + 1)[-turns:].tolist()
        prefill = cache.plan([rows[prefix:] for rows in prompts.rows([*context, *frames])])
        cache.record(prefill)
        used = max(used, prefill.start + prefill.new_tokens)
    assert used == capacity
