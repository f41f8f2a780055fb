"""Runs a bundle over a dataset and scores every sentence."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from glus_edge.benchmarks.accuracy.accuracy import boundary_accuracy, region_similarity
from glus_edge.benchmarks.datasets.dataset import NO_TARGET, Dataset, Expression, ReferringVideo
from glus_edge.runtime.bundle.signatures import Limits
from glus_edge.runtime.policies.key_frame import KeyFrame
from glus_edge.runtime.segmenter import Segmenter
from glus_edge.runtime.utils.progress import Progress

ROW = 5  # figures of a `frame_row`
KINDS = ("appearance", "relation", "motion")


@dataclass(frozen=True)
class SentenceScore:
    """How one sentence fared; shares and scores are points, 0..100."""

    video: str
    sentence: str  # its key in the video
    text: str
    kind: str
    frames: int
    region: float  # J, mean over frames
    boundary: float  # F, mean over frames
    empty: float  # share of frames with an empty mask
    segmented: float  # share of frames on which the language model answered [SEG]
    asked: float  # share of frames on which the language model was asked

    @property
    def j_and_f(self) -> float:
        """The mean of J and F."""
        return (self.region + self.boundary) / 2


@dataclass(frozen=True)
class Summary:
    """Means over sentences, each weighing the same; None where there is no such sentence."""

    j_and_f: dict[str, float | None]  # 'all' and KINDS; sentences without a target do not count
    region: float | None
    boundary: float | None
    empty_accuracy: float | None  # of the sentences without a target: share of frames with an empty mask


@dataclass(frozen=True)
class EvaluationRules:
    """How the videos are run; see `Segmenter.segment`."""

    policy: str = "exact"
    refresh: str = "always"
    memory: str = "reference"
    lost: str = "never"
    key_frame: KeyFrame = "first"


def evaluate(
    segmenter: Segmenter, dataset: Dataset, videos: int, rules: EvaluationRules, progress: Progress
) -> list[SentenceScore]:
    """Scores of the first `videos` videos, in order. Errors: those of the dataset and of `Segmenter.segment`."""
    scores: list[SentenceScore] = []
    for number in progress(range(videos), videos, "evaluating"):
        scores += _scores(segmenter, dataset[number], rules)
    return scores


def summary(scores: Sequence[SentenceScore]) -> Summary:
    """What a table shows."""
    with_target = [score for score in scores if score.kind != NO_TARGET]
    without = [score for score in scores if score.kind == NO_TARGET]
    kinds = {kind: _mean(score.j_and_f for score in with_target if score.kind == kind) for kind in KINDS}
    return Summary(
        j_and_f={"all": _mean(score.j_and_f for score in with_target), **kinds},
        region=_mean(score.region for score in with_target),
        boundary=_mean(score.boundary for score in with_target),
        empty_accuracy=_mean(score.empty for score in without),
    )


def _scores(segmenter: Segmenter, asked: ReferringVideo, rules: EvaluationRules) -> list[SentenceScore]:
    """All sentences of one video, in one batch as far as the runtime's limit lets them.

    A key frame that the model chooses is each sentence's own, as in the paper: then they are run one by one.
    """
    scores: list[SentenceScore] = []
    at_once = 1 if rules.key_frame == "auto" else Limits().sentences
    video = asked.open()
    try:
        for start in range(0, len(asked.sentences), at_once):
            batch = asked.sentences[start : start + at_once]
            texts = [sentence.text for sentence in batch]
            rows = np.zeros((video.frame_count, len(batch), ROW))
            for result in segmenter.segment(video, texts, **asdict(rules)):
                truth = asked.truth(result.index)[start : start + len(batch)]
                for row, mask, true, scored in zip(rows[result.index], result.masks, truth, result.scores, strict=True):
                    row[:] = frame_row(mask, true, scored.segmented, result.asked)
            scores += [score_of(asked.name, each, rows[:, place]) for place, each in enumerate(batch)]
    finally:
        video.close()
    return scores


def frame_row(
    mask: NDArray[np.bool_], true: NDArray[np.bool_], segmented: bool, asked: bool
) -> tuple[float, float, bool, bool, bool]:
    """One frame's share of a SentenceScore: J, F, empty, segmented, asked."""
    return region_similarity(mask, true), boundary_accuracy(mask, true), not mask.any(), segmented, asked


def score_of(video: str, sentence: Expression, rows: NDArray[np.float64]) -> SentenceScore:
    """The score of one sentence from its frames' rows, [frames, ROW]."""
    region, boundary, empty, segmented, asked = (100 * rows.mean(axis=0)).tolist()
    return SentenceScore(
        video, sentence.key, sentence.text, sentence.kind, len(rows), region, boundary, empty, segmented, asked
    )


def _mean(values: Iterable[float]) -> float | None:
    collected = list(values)
    return sum(collected) / len(collected) if collected else None
