"""`glus-edge bench signals`: do the decoder's own scores rank its masks?"""

import argparse
from dataclasses import asdict, dataclass, field, fields

from glus_edge.benchmarks.datasets.dataset import video_count
from glus_edge.benchmarks.datasets.generated_dataset import GENERATED
from glus_edge.benchmarks.datasets.open_dataset import open_dataset
from glus_edge.benchmarks.instruments.environment import environment
from glus_edge.benchmarks.instruments.record import RecordFile, add_record_arguments
from glus_edge.benchmarks.policies.signal_quality import ObservedMask, observe, qualities, table
from glus_edge.runtime.commands.arguments import (
    add_bundle_argument,
    add_engine_arguments,
    add_loop_arguments,
    bundle_from_arguments,
    choice_from_arguments,
    opened_segmenter,
    options_from_arguments,
)
from glus_edge.runtime.policies.loop_rules import LoopChoice
from glus_edge.runtime.utils.progress import terminal_bar

_ABOUT = """\
Runs a bundle over a dataset and compares the scores of every mask with its true IoU: Spearman's correlation (frames that
show the object), the area under the ROC curve for IoU > 0.5 (the same frames), and for presence (all frames).
"""


@dataclass(frozen=True)
class SignalBenchSettings:
    """What is measured; the command line's defaults."""

    dataset: str = GENERATED  # or a folder
    videos: int | None = None  # the first so many; None: all
    choice: LoopChoice = field(default_factory=LoopChoice)


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    usual = SignalBenchSettings()
    parser.description = f"{parser.description} {_ABOUT}"
    add_bundle_argument(parser)
    parser.add_argument("--dataset", default=usual.dataset, metavar="generated|FOLDER", help="(default: %(default)s)")
    parser.add_argument("--videos", type=int, metavar="N", help="the first N videos only")
    add_loop_arguments(parser)
    add_engine_arguments(parser)
    add_record_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the videos, prints the table and writes the record, which holds every mask's scores."""
    settings = SignalBenchSettings(arguments.dataset, arguments.videos, choice_from_arguments(arguments))
    dataset = open_dataset(settings.dataset)
    videos = video_count(dataset, settings.videos)
    record_file = RecordFile("signals", arguments)
    with opened_segmenter(bundle_from_arguments(arguments), options_from_arguments(arguments)) as segmenter:
        masks = observe(segmenter, dataset, videos, settings.choice, terminal_bar)
        bundle = segmenter.bundle.manifest.name
    worth = qualities(masks)
    present = sum(mask.present for mask in masks)
    print(
        f"{bundle}, {settings.choice.policy}: {len(masks)} masks of {videos} videos of {dataset.name}, {present} with "
        "their object"
    )
    for line in table(worth):
        print(line)
    record_file.write(
        environment(arguments.threads),
        settings,
        [{"signal": signal, **asdict(quality)} for signal, quality in worth.items()],
        bundle=bundle,
        dataset=dataset.name,
        videos=videos,
        masks=len(masks),
        present=present,
        observations={
            column.name: [round(float(getattr(mask, column.name)), 5) for mask in masks]
            for column in fields(ObservedMask)
        },
    )
    return 0
