"""The runtime beside the reference algorithm on the same frames: J&F of both, and how far their masks agree."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from glus_edge.benchmarks.accuracy.bootstrap import PairedDifference, paired_bootstrap
from glus_edge.benchmarks.accuracy.evaluation import ROW, EvaluationRules, SentenceScore, frame_row, score_of, summary
from glus_edge.benchmarks.datasets.dataset import NO_TARGET, Dataset, ReferringVideo
from glus_edge.runtime.errors import InputError
from glus_edge.runtime.policies.mask_signals import overlap
from glus_edge.runtime.segmenter import Segmenter
from glus_edge.runtime.utils.progress import Progress

if TYPE_CHECKING:
    from glus_edge.benchmarks.reference.reference import Reference


@dataclass(frozen=True)
class Pair:
    """One sentence, run by both."""

    ours: SentenceScore
    reference: SentenceScore
    overlaps: tuple[float, ...]  # IoU of the two masks, frame by frame; 1 where both are empty


@dataclass(frozen=True)
class Agreement:
    """What a table shows."""

    j_and_f: dict[str, float | None]  # the reference's, as in `Summary`
    difference: PairedDifference | None  # J&F of the runtime over the reference's; None where no sentence has a target
    mean_iou: float  # of the two masks, over all frames
    least_iou: float  # on the frame where they differ most
    same: float  # share of frames with the same mask, pixel by pixel


def run_beside(
    segmenter: Segmenter,
    reference: "Reference",
    dataset: Dataset,
    videos: int,
    rules: EvaluationRules,
    progress: Progress,
) -> list[Pair]:
    """The first `videos` videos, one sentence at a time as the reference runs them. Nothing but one frame is held.

    Errors: those of the dataset and of `Segmenter.segment`; InputError for a key frame that the reference does not have.
    """
    check_rules(rules)
    return [
        _pair(segmenter, reference, asked, place, rules)
        for number in progress(range(videos), videos, "evaluating, and the reference")
        for asked in (dataset[number],)
        for place in range(len(asked.sentences))
    ]


def check_rules(rules: EvaluationRules) -> None:
    """InputError: a key frame that the reference does not have."""
    if rules.key_frame != "first":
        raise InputError(f"--keyframe: got {rules.key_frame!r}, expected first: the baseline starts there")


def agreement(pairs: Sequence[Pair]) -> Agreement:
    """Means over sentences for J&F, over frames for masks."""
    ours, theirs = (
        {(score.video, score.sentence): score.j_and_f for score in scores if score.kind != NO_TARGET}
        for scores in ([pair.ours for pair in pairs], [pair.reference for pair in pairs])
    )
    overlaps = np.concatenate([pair.overlaps for pair in pairs])
    return Agreement(
        j_and_f=summary([pair.reference for pair in pairs]).j_and_f,
        difference=paired_bootstrap(ours, theirs) if ours else None,
        mean_iou=float(overlaps.mean()),
        least_iou=float(overlaps.min()),
        same=float((overlaps == 1).mean()),
    )


def agreement_lines(found: Agreement) -> Iterator[str]:
    """For people."""
    yield "the reference algorithm in torch, float32"
    for kind, value in found.j_and_f.items():
        if value is not None:
            yield f"  J&F {kind:12s} {value:6.2f}"
    if found.difference:
        change = found.difference
        yield f"  J&F here over the reference's {change.mean:+.2f} [{change.low:+.2f}, {change.high:+.2f}]"
    yield (
        f"  masks of both: mean IoU {found.mean_iou:.4f}, least {found.least_iou:.4f}, "
        f"the same on {found.same:.1%} of frames"
    )


def _pair(
    segmenter: Segmenter, reference: "Reference", asked: ReferringVideo, place: int, rules: EvaluationRules
) -> Pair:
    sentence = asked.sentences[place]
    # Opened twice: the runtime decodes ahead in a thread of its own.
    with closing(asked.open()) as video, closing(asked.open()) as again:
        ours, theirs = np.zeros((2, video.frame_count, ROW))
        overlaps = []
        results = segmenter.segment(video, [sentence.text], **asdict(rules))
        for result, wanted in zip(results, reference.segment(again, sentence.text), strict=True):
            true = asked.truth(result.index)[place]
            ours[result.index] = frame_row(result.masks[0], true, result.scores[0].segmented, result.asked)
            theirs[wanted.index] = frame_row(wanted.mask, true, wanted.segmented, True)
            overlaps.append(overlap(result.masks[0], wanted.mask))
    return Pair(score_of(asked.name, sentence, ours), score_of(asked.name, sentence, theirs), tuple(overlaps))
