"""Sets of videos, sentences and true masks."""
