"""How many slots of keys and values a run needs: found by planning its steps on paper, before memory is allocated."""

from glus_edge.runtime.bundle.manifest import WindowSettings
from glus_edge.runtime.language.kv_cache import KeyValueCache
from glus_edge.runtime.language.prompts import Prompts
from glus_edge.runtime.policies.window import Window, WindowPolicy

_NO_LIMIT = 1 << 16  # slots


def cache_capacity(
    prompts: Prompts, sentences: int, prefix: int, granule: int, settings: WindowSettings, window_policy: WindowPolicy
) -> int:
    """Slots behind the prefix that the window policy's steps use, with frames that are all different.

    `prefix`: rows shared by all prompts. `granule`: see KeyValueCache.
    """
    context = [0] * settings.context_frames
    cache = KeyValueCache(sentences, prefix, _NO_LIMIT, granule)
    capacity, window = 0, Window(0, keep=False)
    for step in range(4 * settings.query_frames):
        previous, window = window, window_policy.window(step)
        if window.keep:
            cache.drop_leading(prompts.turn_lengths(previous.turns + 1 - window.turns))
        frames = list(range(step + 1))[-window.turns :]
        prefill = cache.plan([rows[prefix:] for rows in prompts.rows([*context, *frames])])
        cache.record(prefill)
        capacity = max(capacity, prefill.start + prefill.new_tokens)
    return capacity
