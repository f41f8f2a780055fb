"""`glus-edge bench`: where the milliseconds go."""
