"""ReVOS: J, F, accuracy A and robustness R, for referring and reasoning sentences apart.

Source: VISA at ec158fd, tools/eval_revos.py and tools/metrics.py. That code adds annotations up in bytes: where two of a
sentence's objects overlap the truth is 2. J and F see a mask there. A counts such a pixel as wrong. R reads 1 - 2 as 255.
This is kept: the numbers are those of the published tables.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from glus_edge.benchmarks.metrics.expression_metric import ExpressionMetric, frame_mean
from glus_edge.benchmarks.metrics.metric import (
    BOUNDARY,
    MASKS,
    REGION,
    Figures,
    ScoredSentence,
    Truth,
)

REFERRING, REASONING = "referring", "reasoning"
ACCURACY, ROBUSTNESS = "A", "R"
COUNTS = "counts"  # of a Truth: uint8 [sentences, H, W], how many of the sentence's annotations cover a pixel
FOREGROUND = "foreground"  # of a Truth: uint8 [H, W], how many annotations of the video cover a pixel


class RevosMetric(ExpressionMetric):
    """See Metric."""

    names = (REGION, BOUNDARY, ACCURACY, ROBUSTNESS)

    def frame(self, masks: NDArray[np.bool_], truth: Truth) -> NDArray[np.float64]:
        """See Metric; columns: J, F, A, R. The truth holds MASKS, COUNTS and FOREGROUND."""
        object_pixels = int(truth[FOREGROUND].sum(dtype=np.uint64))
        rows = [
            (pixel_accuracy(mask, count), robustness(mask, count, object_pixels))
            for mask, count in zip(masks, truth[COUNTS], strict=True)
        ]
        return np.column_stack([super().frame(masks, {MASKS: truth[COUNTS] > 0}), rows])

    def figures(self, frames: NDArray[np.float64]) -> list[Figures]:
        """See Metric."""
        return [
            figures | {ACCURACY: frame_mean(frames[:, sentence, 2]), ROBUSTNESS: frame_mean(frames[:, sentence, 3])}
            for sentence, figures in enumerate(super().figures(frames))
        ]

    def averages(self, sentences: Sequence[ScoredSentence]) -> dict[str, float]:
        """See Metric; values are rounded to two digits before they are averaged. Sentences without a target do not count.

        `overall` is the mean of the two kinds, however many sentences each has.
        """
        averages: dict[str, float] = {}
        kinds = []
        for kind in (REFERRING, REASONING):
            figures = [each.figures for each in sentences if each.kind == kind]
            if figures:
                kinds.append(
                    {name: float(np.mean([round(100 * each[name], 2) for each in figures])) for name in self.names}
                )
                averages |= _row(kind, kinds[-1])
        if len(kinds) == 2:
            averages |= _row("overall", {name: (kinds[0][name] + kinds[1][name]) / 2 for name in self.names})
        return averages


def pixel_accuracy(mask: NDArray[np.bool_], count: NDArray[np.uint8]) -> float:
    """A of one frame: the share of pixels where the mask, 0 or 1, equals the number of annotations."""
    return float(np.mean(count == mask))


def robustness(mask: NDArray[np.bool_], count: NDArray[np.uint8], object_pixels: int) -> float:
    """R of one frame: 1 less the share that wrong pixels have in the pixels of all objects, at least 0."""
    wrong = int(((np.uint8(1) - count) * mask).sum(dtype=np.uint64))
    return max(1 - wrong / (object_pixels + 1e-6), 0.0)


def _row(kind: str, mean: dict[str, float]) -> dict[str, float]:
    return {f"{kind}: J&F": (mean[REGION] + mean[BOUNDARY]) / 2} | {f"{kind}: {name}": mean[name] for name in mean}
