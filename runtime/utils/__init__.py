"""Small helpers that know nothing of video or models."""
