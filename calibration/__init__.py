"""Finds the precision each part of a bundle can bear."""
