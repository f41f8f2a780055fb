"""Masks in the formats of other tools: one file a format, `registry.py` lists them."""
