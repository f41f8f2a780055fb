"""Ref-DAVIS17 by its own protocol: four annotators, objects matched to results, void pixels left out.

Sources: ReferFormer at 06fc218, inference_davis.py and eval_davis.py; davis2017-evaluation at ac7c43f, task `unsupervised`.
Sentence 4 * o + a is annotator a's about object o. An annotator's masks are merged into one picture of object numbers, where
the lower object wins. Its objects are then matched to the annotated ones by the Hungarian method, on the mean of J and F
over all frames, the first and the last included.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from glus_edge.benchmarks.metrics.expression_metric import frame_mean
from glus_edge.benchmarks.metrics.j_and_f import boundary_accuracy, region_similarity
from glus_edge.benchmarks.metrics.metric import BOUNDARY, REGION, Figures, ScoredSentence, Truth, mean_points

ANNOTATORS = 4
VOID = 255  # in an annotation: pixels that do not count
OBJECTS = "objects"  # of a Truth: uint8 [H, W], numbers from 1, 0 for the background, VOID


class RefDavis17Metric:
    """See Metric."""

    joint = True
    names: tuple[str, ...] = (REGION, BOUNDARY)

    def frame(self, masks: NDArray[np.bool_], truth: Truth) -> NDArray[np.float64]:
        """See Metric; columns: J against object 1, 2, ..., then F against object 1, 2, ..."""
        count = len(masks) // ANNOTATORS
        objects = truth[OBJECTS]
        valid = objects != VOID
        wanted = [objects == number for number in range(1, count + 1)]
        values = np.zeros((len(masks), 2 * count))
        for annotator in range(ANNOTATORS):
            merged = merge_objects(masks[annotator::ANNOTATORS])
            for number in range(count):
                found = (merged == number + 1) & valid
                row = values[number * ANNOTATORS + annotator]
                row[:count] = [region_similarity(found, true) for true in wanted]
                row[count:] = [boundary_accuracy(found, true) for true in wanted]
        return values

    def figures(self, frames: NDArray[np.float64]) -> list[Figures]:
        """See Metric: sentence 4 * o + a gets what annotator a's best matching result scores on object o."""
        # Typed by nobody, and needed by this set alone.
        from scipy.optimize import linear_sum_assignment  # type: ignore[attr-defined]

        sentences, count = frames.shape[1], frames.shape[2] // 2
        figures: list[Figures] = [{} for _ in range(sentences)]
        for annotator in range(ANNOTATORS):
            # [results, columns] means over frames
            means = np.array(
                [
                    [frame_mean(frames[:, sentence, column]) for column in range(2 * count)]
                    for sentence in range(annotator, sentences, ANNOTATORS)
                ]
            )
            region, boundary = means[:, :count], means[:, count:]
            for result, wanted in zip(*linear_sum_assignment(-(region + boundary) / 2), strict=True):
                figures[wanted * ANNOTATORS + annotator] = {
                    REGION: float(region[result, wanted]),
                    BOUNDARY: float(boundary[result, wanted]),
                }
        return figures

    def averages(self, sentences: Sequence[ScoredSentence]) -> dict[str, float]:
        """See Metric: the mean of four annotators' means over all objects."""
        averages: dict[str, float] = {}
        annotators = []
        for annotator in range(ANNOTATORS):
            own = [each for each in sentences if int(each.key) % ANNOTATORS == annotator]
            annotators.append(mean_points(own))
            averages |= mean_points(own, f"annotator {annotator}: ")
        if not all(annotators):
            return averages
        return {name: float(np.mean([each[name] for each in annotators])) for name in annotators[0]} | averages


def merge_objects(masks: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """One annotator's masks, bool [objects, H, W], as a picture of object numbers, uint8 [H, W]; the lower object wins."""
    merged = np.zeros(masks.shape[1:], np.uint8)
    for number in range(len(masks), 0, -1):
        merged[masks[number - 1]] = number
    return merged
