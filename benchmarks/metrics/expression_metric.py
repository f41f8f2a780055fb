"""J and F of every sentence, averaged over sentences: MeViS, Ref-YouTube-VOS, ReasonVOS, and GLUS's DAVIS protocol.

Source: MeViS at 7c0620b, tools/eval_mevis.py.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from glus_edge.benchmarks.metrics.j_and_f import boundary_accuracy, region_similarity
from glus_edge.benchmarks.metrics.metric import (
    BOUNDARY,
    MASKS,
    NO_TARGET,
    REGION,
    Figures,
    ScoredSentence,
    Truth,
    mean_points,
)


class ExpressionMetric:
    """See Metric. A video with many sentences weighs more than one with few."""

    joint = False
    names: tuple[str, ...] = (REGION, BOUNDARY)

    def frame(self, masks: NDArray[np.bool_], truth: Truth) -> NDArray[np.float64]:
        """See Metric; columns: J, F."""
        return np.array(
            [
                (region_similarity(mask, true), boundary_accuracy(mask, true))
                for mask, true in zip(masks, truth[MASKS], strict=True)
            ]
        )

    def figures(self, frames: NDArray[np.float64]) -> list[Figures]:
        """See Metric."""
        return [
            {REGION: frame_mean(frames[:, sentence, 0]), BOUNDARY: frame_mean(frames[:, sentence, 1])}
            for sentence in range(frames.shape[1])
        ]

    def averages(self, sentences: Sequence[ScoredSentence]) -> dict[str, float]:
        """See Metric; sentences without a target are left out."""
        return mean_points([each for each in sentences if each.kind != NO_TARGET])


def frame_mean(values: NDArray[np.float64]) -> float:
    """The mean in numpy's own order of summation over one frame after another, as the evaluators take it."""
    return float(np.ascontiguousarray(values).mean())
