"""Metrics of masks: what each benchmark computes per frame, per sentence and over a set."""
