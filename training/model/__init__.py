"""The small GLUS: network, heads, tokenizer, losses."""
