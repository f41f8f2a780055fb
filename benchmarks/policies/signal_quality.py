"""Do the decoder's scores tell good masks from bad ones?

For each signal Spearman's correlation with the true IoU (frames that show the object), the area under the ROC curve for
IoU > 0.5 (the same frames), and for presence (all frames). Nothing trained GLUS's scores after SAM 2, so what they are
worth has to be measured.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
from numpy.typing import NDArray

from glus_edge.benchmarks.datasets.dataset import Dataset
from glus_edge.benchmarks.metrics.j_and_f import region_similarity
from glus_edge.benchmarks.policies.ranking import roc_auc, spearman
from glus_edge.runtime.bundle.signatures import Limits
from glus_edge.runtime.loop.result import FrameResult
from glus_edge.runtime.policies.loop_rules import LoopChoice
from glus_edge.runtime.policies.mask_signals import overlap
from glus_edge.runtime.segmenter import Segmenter
from glus_edge.runtime.utils.progress import Progress

GOOD = 0.5  # true IoU above which a mask counts as right


@dataclass(frozen=True)
class ObservedMask:
    """One sentence's mask on one frame."""

    predicted_iou: float
    object_score: float  # logit
    overlap: float  # IoU with the frame before's mask
    area: float  # share of the frame
    true_iou: float
    present: bool  # the frame shows what the sentence means


SIGNALS = ("predicted_iou", "object_score", "overlap", "area")


@dataclass(frozen=True)
class SignalQuality:
    """What one signal is worth; None where the data does not say."""

    iou_correlation: float | None  # Spearman, on frames that show the object
    good_auc: float | None  # ROC area for true IoU > GOOD, on the same frames
    presence_auc: float | None  # ROC area for the object being in the frame


def observe(
    segmenter: Segmenter, dataset: Dataset, videos: int, choice: LoopChoice, progress: Progress
) -> list[ObservedMask]:
    """Every mask of the first `videos` videos that the decoder gave. Errors: those of the dataset and the segmenter."""
    masks: list[ObservedMask] = []
    for number in progress(range(videos), videos, "observing"):
        asked = dataset[number]
        video = asked.open()
        try:
            texts = [sentence.text for sentence in asked.sentences]
            for start in range(0, len(texts), Limits().sentences):
                batch = texts[start : start + Limits().sentences]
                before: NDArray[np.bool_] | None = None
                for result in segmenter.segment(video, batch, **asdict(choice)):
                    truth = asked.truth(result.index)[start : start + len(batch)]
                    masks += _observations(result, truth, result.masks if before is None else before)
                    before = result.masks
        finally:
            video.close()
    return masks


def qualities(masks: Sequence[ObservedMask]) -> Mapping[str, SignalQuality]:
    """Of each signal."""
    columns = {field.name: np.array([getattr(each, field.name) for each in masks]) for field in fields(ObservedMask)}
    present = columns["present"].astype(np.bool_)
    shown = columns["true_iou"][present]
    return {
        signal: SignalQuality(
            iou_correlation=spearman(columns[signal][present], shown),
            good_auc=roc_auc(columns[signal][present], shown > GOOD),
            presence_auc=roc_auc(columns[signal], present),
        )
        for signal in SIGNALS
    }


def table(qualities: Mapping[str, SignalQuality]) -> Iterator[str]:
    """Lines in Markdown."""
    yield f"| signal | Spearman with IoU | ROC area, IoU > {GOOD} | ROC area, presence |"
    yield "|---|---|---|---|"
    for signal, quality in qualities.items():
        cells = (quality.iou_correlation, quality.good_auc, quality.presence_auc)
        yield f"| {signal} | " + " | ".join("" if cell is None else f"{cell:.3f}" for cell in cells) + " |"


def _observations(result: FrameResult, truth: NDArray[np.bool_], before: NDArray[np.bool_]) -> Iterator[ObservedMask]:
    for mask, true, last, scores in zip(result.masks, truth, before, result.scores, strict=True):
        if scores.predicted_iou is None or scores.object_score is None:
            continue  # no [SEG], no mask
        yield ObservedMask(
            predicted_iou=scores.predicted_iou,
            object_score=scores.object_score,
            overlap=overlap(mask, last),
            area=float(mask.mean()),
            true_iou=region_similarity(mask, true),
            present=bool(true.any()),
        )
