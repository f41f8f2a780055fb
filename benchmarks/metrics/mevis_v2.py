"""MeViS v2: J and F of all sentences, N-acc of those without a target, T-acc of those with one.

J and F are those of tools/eval_mevis.py: a sentence without a target scores 1 on the frames that are left empty. The code
of the server's N-acc and T-acc is not public. Here they are GRES's (Liu et al., CVPR 2023), over whole videos: N-acc is the
share of sentences without a target whose masks are all empty, T-acc the share of those with one that have any mask.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from glus_edge.benchmarks.metrics.expression_metric import ExpressionMetric
from glus_edge.benchmarks.metrics.metric import (
    BOUNDARY,
    NO_TARGET,
    REGION,
    Figures,
    ScoredSentence,
    Truth,
    mean_points,
    points,
)

ANSWERED = "answered"  # 1: a mask on at least one frame, else 0


class MevisV2Metric(ExpressionMetric):
    """See Metric."""

    names = (REGION, BOUNDARY, ANSWERED)

    def frame(self, masks: NDArray[np.bool_], truth: Truth) -> NDArray[np.float64]:
        """See Metric; columns: J, F, whether the mask has a pixel."""
        return np.column_stack([super().frame(masks, truth), masks.any(axis=(1, 2))])

    def figures(self, frames: NDArray[np.float64]) -> list[Figures]:
        """See Metric."""
        return [
            figures | {ANSWERED: float(frames[:, sentence, 2].max())}
            for sentence, figures in enumerate(super().figures(frames))
        ]

    def averages(self, sentences: Sequence[ScoredSentence]) -> dict[str, float]:
        """See Metric."""
        without = [each for each in sentences if each.kind == NO_TARGET]
        with_target = [each for each in sentences if each.kind != NO_TARGET]
        averages = mean_points(sentences) | mean_points(with_target, "with a target: ")
        if without:
            averages["N-acc"] = points(1 - each.figures[ANSWERED] for each in without)
        if with_target:
            averages["T-acc"] = points(each.figures[ANSWERED] for each in with_target)
        return averages
