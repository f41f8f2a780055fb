"""Long-RVOS: J, F, tIoU and vIoU, by kind of sentence and over all.

Source: Long_RVOS at 447682a, eval/eval_long_rvos/. tIoU: of the frames where mask or truth has a pixel, the share where both
have. vIoU: J summed over the frames where both have, divided by the number where either has. Both are 1 where none has.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from glus_edge.benchmarks.metrics.expression_metric import ExpressionMetric
from glus_edge.benchmarks.metrics.metric import BOUNDARY, MASKS, REGION, Figures, ScoredSentence, Truth, mean_points

KINDS = ("static", "dynamic", "hybrid")
TEMPORAL, SPATIO_TEMPORAL = "tIoU", "vIoU"


class LongRvosMetric(ExpressionMetric):
    """See Metric."""

    names = (REGION, BOUNDARY, TEMPORAL, SPATIO_TEMPORAL)

    def frame(self, masks: NDArray[np.bool_], truth: Truth) -> NDArray[np.float64]:
        """See Metric; columns: J, F, whether the mask has a pixel, whether the truth has one."""
        present = [each.any(axis=(1, 2)) for each in (masks, truth[MASKS])]
        return np.column_stack([super().frame(masks, truth), *present])

    def figures(self, frames: NDArray[np.float64]) -> list[Figures]:
        """See Metric."""
        return [
            figures | temporal_overlap(frames[:, sentence, 0], frames[:, sentence, 2] > 0, frames[:, sentence, 3] > 0)
            for sentence, figures in enumerate(super().figures(frames))
        ]

    def averages(self, sentences: Sequence[ScoredSentence]) -> dict[str, float]:
        """See Metric."""
        names = (TEMPORAL, SPATIO_TEMPORAL)
        averages: dict[str, float] = {}
        for kind in KINDS:
            averages |= mean_points([each for each in sentences if each.kind == kind], f"{kind}: ", names)
        return averages | mean_points(sentences, "overall: ", names)


def temporal_overlap(region: NDArray[np.float64], found: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> Figures:
    """tIoU and vIoU of one sentence from J, and from whether mask and truth have a pixel, of every frame; [F] each."""
    either = int((found | wanted).sum())
    if not either:
        return {TEMPORAL: 1.0, SPATIO_TEMPORAL: 1.0}
    both = found & wanted
    return {TEMPORAL: int(both.sum()) / either, SPATIO_TEMPORAL: float(region[both].sum()) / either}
