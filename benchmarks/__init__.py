"""Accuracy, latency and memory of a bundle, measured through the runtime."""
