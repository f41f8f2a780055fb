"""Checkpoints of random weights, for measurements."""
