"""Pixels of the image towers, made on the host or by a graph."""
