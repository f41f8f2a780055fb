"""`python -m glus_edge.benchmarks.policies.signal_quality`: do the decoder's scores tell good masks from bad ones?

Runs a bundle over a dataset, notes the signals of every mask beside its true IoU, and reports for each signal Spearman's
correlation with the IoU (frames that show the object), the area under the ROC curve for IoU > 0.5 (the same frames), and
for presence (all frames). Nothing trained GLUS's scores after SAM 2, so what they are worth has to be measured.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glus_edge.benchmarks.accuracy.accuracy import region_similarity
from glus_edge.benchmarks.datasets.dataset import Dataset, video_count
from glus_edge.benchmarks.datasets.generated_dataset import GENERATED
from glus_edge.benchmarks.datasets.open_dataset import open_dataset
from glus_edge.benchmarks.instruments.environment import environment
from glus_edge.benchmarks.policies.ranking import roc_auc, spearman
from glus_edge.runtime.bundle.signatures import Limits
from glus_edge.runtime.commands.arguments import (
    add_bundle_argument,
    add_engine_arguments,
    add_loop_arguments,
    bundle_from_arguments,
    choice_from_arguments,
    options_from_arguments,
)
from glus_edge.runtime.errors import GlusEdgeError
from glus_edge.runtime.loop.result import FrameResult
from glus_edge.runtime.policies.loop_rules import LoopChoice
from glus_edge.runtime.policies.mask_signals import overlap
from glus_edge.runtime.segmenter import Segmenter
from glus_edge.runtime.utils.atomic_file import check_file, write_file
from glus_edge.runtime.utils.progress import Progress, terminal_bar
from glus_edge.runtime.utils.schema import to_json

FORMAT = "glus-edge signals"
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


def main(arguments: list[str] | None = None) -> int:
    """The command; 0, or 2 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m glus_edge.benchmarks.policies.signal_quality", description=__doc__)
    add_bundle_argument(parser)
    parser.add_argument("--dataset", default=GENERATED, metavar="generated|FOLDER", help="(default: %(default)s)")
    parser.add_argument("--videos", type=int, metavar="N", help="the first N videos only")
    parser.add_argument("--output", type=Path, metavar="JSON", help="the record to write")
    add_loop_arguments(parser)
    add_engine_arguments(parser)
    try:
        return _run(parser.parse_args(arguments))
    except GlusEdgeError as error:
        print(f"signals: error: {error}", file=sys.stderr)
        return 2


def observe(
    segmenter: Segmenter, dataset: Dataset, videos: int, choice: LoopChoice, progress: Progress
) -> list[ObservedMask]:
    """Every mask of the first `videos` videos that the decoder gave. Errors: those of the dataset and the segmenter."""
    seen: list[ObservedMask] = []
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
                    seen += _observations(result, truth, result.masks if before is None else before)
                    before = result.masks
        finally:
            video.close()
    return seen


def qualities(seen: Sequence[ObservedMask]) -> Mapping[str, SignalQuality]:
    """Of each signal."""
    columns = {field.name: np.array([getattr(each, field.name) for each in seen]) for field in fields(ObservedMask)}
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


def table(found: Mapping[str, SignalQuality]) -> Iterator[str]:
    """Lines in Markdown."""
    yield f"| signal | Spearman with IoU | ROC area, IoU > {GOOD} | ROC area, presence |"
    yield "|---|---|---|---|"
    for signal, quality in found.items():
        cells = (quality.iou_correlation, quality.good_auc, quality.presence_auc)
        yield f"| {signal} | " + " | ".join("" if cell is None else f"{cell:.3f}" for cell in cells) + " |"


def _run(arguments: argparse.Namespace) -> int:
    dataset = open_dataset(arguments.dataset)
    videos = video_count(dataset, arguments.videos)
    choice = choice_from_arguments(arguments)
    if arguments.output:
        check_file(arguments.output)
    with Segmenter.open(bundle_from_arguments(arguments), options_from_arguments(arguments)) as segmenter:
        seen = observe(segmenter, dataset, videos, choice, terminal_bar)
        bundle = segmenter.bundle.manifest.name
    found = qualities(seen)
    present = sum(each.present for each in seen)
    print(
        f"{bundle}, {choice.policy}: {len(seen)} masks of {videos} videos of {dataset.name}, {present} with their object"
    )
    for line in table(found):
        print(line)
    if arguments.output:
        record = {
            "format": FORMAT,
            "bundle": bundle,
            "dataset": dataset.name,
            "videos": videos,
            **asdict(choice),
            "environment": to_json(environment(arguments.threads)),
            "masks": len(seen),
            "present": present,
            "signals": {signal: to_json(quality) for signal, quality in found.items()},
            "observations": {
                field.name: [round(float(getattr(each, field.name)), 5) for each in seen]
                for field in fields(ObservedMask)
            },
        }
        write_file(arguments.output, json.dumps(record, allow_nan=False).encode() + b"\n")
    return 0


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


if __name__ == "__main__":
    sys.exit(main())
