"""Trains the small GLUS that ships, with the paper's losses, on video it generates."""
