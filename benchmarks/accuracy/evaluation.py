"""Runs a bundle over a dataset and scores every sentence."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from glus_edge.benchmarks.accuracy.prediction_folder import PredictionFolder
from glus_edge.benchmarks.accuracy.scorer import InlineScorer, Packed, Scorer, Values, pack, unpack
from glus_edge.benchmarks.datasets.dataset import NO_TARGET, Dataset, Expression, ReferringVideo
from glus_edge.benchmarks.datasets.open_dataset import masks_alone
from glus_edge.benchmarks.metrics.expression_metric import ExpressionMetric
from glus_edge.benchmarks.metrics.j_and_f import boundary_accuracy, region_similarity
from glus_edge.benchmarks.metrics.metric import (
    BOUNDARY,
    REGION,
    Figures,
    Metric,
    ScoredSentence,
    Truth,
    of_sentences,
)
from glus_edge.runtime.bundle.signatures import Limits
from glus_edge.runtime.loop.result import FrameResult
from glus_edge.runtime.policies.key_frame import KeyFrame
from glus_edge.runtime.segmenter import Segmenter
from glus_edge.runtime.utils.progress import Progress
from glus_edge.runtime.video.video import Video

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
    figures: Figures = field(default_factory=dict)  # of the benchmark's metric, by name; shares, 0..1

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
    """J and F of the first `videos` videos, in order. Errors: those of the dataset and of `Segmenter.segment`."""
    scorer, plain = InlineScorer(), Scoring(ExpressionMetric(), masks_alone)
    return [
        score
        for number in progress(range(videos), videos, "evaluating")
        for score in evaluate_video(segmenter, dataset[number], rules, plain, scorer)
    ]


class Scoring(NamedTuple):
    """What a video is scored by."""

    metric: Metric
    truth: Callable[[ReferringVideo, int], Truth] | None  # of one frame, for the metric; None: the server keeps it


def evaluate_video(
    segmenter: Segmenter,
    asked: ReferringVideo,
    rules: EvaluationRules,
    scoring: Scoring,
    scorer: Scorer,
    predictions: PredictionFolder | None = None,
) -> list[SentenceScore]:
    """Runs one video, writes its masks, and gives a score for every sentence; none where the server keeps the truth.

    All sentences run in one batch as far as the runtime's limit lets them. A key frame that the model chooses is each
    sentence's own, as in the paper: then they run one by one.
    """
    joint = scoring.metric.joint or (predictions is not None and predictions.layout.joint)
    at_once = 1 if rules.key_frame == "auto" else Limits().sentences
    with closing(asked.open()) as video:
        frames = _VideoFrames(asked, video, scoring, scorer, predictions)
        for start in range(0, len(asked.sentences), at_once):
            batch = asked.sentences[start : start + at_once]
            results = segmenter.segment(video, [sentence.text for sentence in batch], **asdict(rules))
            for result in results:
                frames.record(start, result)
                if joint:
                    frames.keep(start, result)
                else:
                    frames.finish(result.index, start, result.masks)
        if joint:
            frames.finish_all()
        return frames.scores()


class _VideoFrames:
    """What comes of one video, frame by frame and batch by batch."""

    def __init__(
        self,
        asked: ReferringVideo,
        video: Video,
        scoring: Scoring,
        scorer: Scorer,
        predictions: PredictionFolder | None,
    ) -> None:
        self._asked, self._video, self._scoring = asked, video, scoring
        self._scorer, self._predictions = scorer, predictions
        self._kept: dict[tuple[int, int], Packed] = {}  # masks by frame and sentence
        self._values: dict[tuple[int, int], Callable[[], Values]] = {}  # by frame and first sentence
        # [F, sentences]: the mask is empty, the model answered [SEG], the model was asked
        self._empty, self._segmented, self._asked_about = np.zeros((3, video.frame_count, len(asked.sentences)))

    def record(self, start: int, result: FrameResult) -> None:
        """How the model fared, for the sentences from `start` on."""
        part = np.s_[result.index, start : start + len(result.masks)]
        self._empty[part] = ~result.masks.any(axis=(1, 2))
        self._segmented[part] = [score.segmented for score in result.scores]
        self._asked_about[part] = result.asked

    def keep(self, start: int, result: FrameResult) -> None:
        """Keeps masks until those of all sentences are there."""
        for place, mask in enumerate(result.masks, start):
            self._kept[result.index, place] = pack(mask)

    def finish_all(self) -> None:
        """Finishes the frames that were kept."""
        for index in range(self._video.frame_count):
            places = range(len(self._asked.sentences))
            self.finish(index, 0, np.stack([unpack(self._kept.pop((index, place))) for place in places]))

    def finish(self, index: int, first: int, masks: NDArray[np.bool_]) -> None:
        """Writes and scores one frame's masks of the sentences from `first` on."""
        if self._predictions is not None:
            stem = self._video.stems[index]
            for file in self._predictions.layout.files(self._asked, index, stem, first, masks):
                self._predictions.write(file)
        if self._scoring.truth is not None:
            truth = of_sentences(self._scoring.truth(self._asked, index), slice(first, first + len(masks)))
            self._values[index, first] = self._scorer.submit(self._scoring.metric, masks, truth)

    def scores(self) -> list[SentenceScore]:
        """Of all sentences, once every frame is finished."""
        if self._scoring.truth is None:
            return []
        figures = frame_figures(self._scoring.metric, self._values)
        behaviour = [100 * values.mean(axis=0) for values in (self._empty, self._segmented, self._asked_about)]
        return [
            sentence_score(self._asked.name, sentence, self._video.frame_count, each, *map(float, shares))
            for sentence, each, *shares in zip(self._asked.sentences, figures, *behaviour, strict=True)
        ]


def frame_figures(metric: Metric, values: Mapping[tuple[int, int], Callable[[], Values]]) -> list[Figures]:
    """Figures of every sentence from the values of frames, by frame and first sentence; waits for them."""
    frames = sorted({frame for frame, _ in values})
    firsts = sorted({first for _, first in values})
    return [
        figures
        for first in firsts
        for figures in metric.figures(np.stack([values[frame, first]() for frame in frames]))
    ]


def sentence_score(
    video: str, sentence: Expression, frames: int, figures: Figures, empty: float, segmented: float, asked: float
) -> SentenceScore:
    """A score from figures, which are shares; the rest are points."""
    region, boundary = 100 * figures[REGION], 100 * figures[BOUNDARY]
    return SentenceScore(
        *(video, sentence.key, sentence.text, sentence.kind, frames, region, boundary, empty, segmented, asked), figures
    )


def averages(metric: Metric, scores: Iterable[SentenceScore]) -> dict[str, float]:
    """What the benchmark's own table shows, in points."""
    return metric.averages([ScoredSentence(each.video, each.sentence, each.kind, each.figures) for each in scores])


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
