"""The language model's part: prompts, the cache of keys and values, the segment embedding."""
