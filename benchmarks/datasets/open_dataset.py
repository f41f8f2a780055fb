"""The registry of data sets: where each one's files are read, what it is scored by, and how predictions are handed in.

A new data set is one file beside this one and one entry of BENCHMARKS. A metric of its own goes to `benchmarks/metrics/`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from glus_edge.benchmarks.datasets.dataset import Dataset, ReferringVideo
from glus_edge.benchmarks.datasets.generated_dataset import GENERATED, GeneratedDataset
from glus_edge.benchmarks.datasets.layout import (
    EMPTY,
    SKIP,
    ZERO,
    AnnotatorFolders,
    ExpressionFolders,
    Layout,
    by_object,
)
from glus_edge.benchmarks.datasets.long_rvos_dataset import LongRvosDataset
from glus_edge.benchmarks.datasets.mevis_dataset import MevisDataset, mevis_v2
from glus_edge.benchmarks.datasets.reasonvos_dataset import ReasonVosDataset
from glus_edge.benchmarks.datasets.ref_davis17_dataset import (
    RefDavis17Dataset,
    RefDavis17ExpressionDataset,
    RefDavis17Video,
)
from glus_edge.benchmarks.datasets.ref_youtube_vos_dataset import TRAIN, RefYoutubeVosDataset
from glus_edge.benchmarks.datasets.revos_dataset import RevosDataset, RevosVideo
from glus_edge.benchmarks.metrics.expression_metric import ExpressionMetric
from glus_edge.benchmarks.metrics.long_rvos import LongRvosMetric
from glus_edge.benchmarks.metrics.metric import MASKS, Metric, Truth
from glus_edge.benchmarks.metrics.mevis_v2 import MevisV2Metric
from glus_edge.benchmarks.metrics.ref_davis17 import RefDavis17Metric
from glus_edge.benchmarks.metrics.revos import RevosMetric
from glus_edge.runtime.errors import InputError

MEVIS = "mevis"  # the benchmark of a folder without a name before it


def masks_alone(video: ReferringVideo, frame: int) -> Truth:
    """What most metrics read."""
    return {MASKS: video.truth(frame)}


def scoring_truth(video: ReferringVideo, frame: int) -> Truth:
    """What the metrics of ReVOS and Ref-DAVIS17 read."""
    assert isinstance(video, (RevosVideo, RefDavis17Video))
    return video.scoring_truth(frame)


class Benchmark(NamedTuple):
    """One way to evaluate on a set."""

    open: Callable[[Path], Dataset]  # its folder
    metric: Metric
    layout: Layout
    protocol: str  # printed beside every score
    scored: bool = True  # False: the server keeps the truth
    truth: Callable[[ReferringVideo, int], Truth] = masks_alone  # of an opened video's frame, for `metric`


_MEVIS_FOLDERS = ExpressionFolders(missing_folder=ZERO)
_YOUTUBE_VOS_FOLDERS = ExpressionFolders(top="Annotations")

BENCHMARKS: dict[str, Benchmark] = {
    MEVIS: Benchmark(
        MevisDataset, ExpressionMetric(), _MEVIS_FOLDERS, "MeViS (tools/eval_mevis.py): means over sentences"
    ),
    "mevis-server": Benchmark(
        lambda folder: MevisDataset(folder, masks=False),
        ExpressionMetric(),
        _MEVIS_FOLDERS,
        "MeViS valid or test: the server keeps the masks",
        scored=False,
    ),
    "mevis-v2": Benchmark(
        mevis_v2,
        MevisV2Metric(),
        _MEVIS_FOLDERS,
        "MeViS v2: tools/eval_mevis.py; N-acc and T-acc as GRES defines them, for the server's code is not public",
    ),
    "mevis-v2-server": Benchmark(
        lambda folder: mevis_v2(folder, masks=False),
        MevisV2Metric(),
        _MEVIS_FOLDERS,
        "MeViS v2 valid: the server keeps the masks",
        scored=False,
    ),
    "ref-youtube-vos": Benchmark(
        RefYoutubeVosDataset,
        ExpressionMetric(),
        _YOUTUBE_VOS_FOLDERS,
        "Ref-YouTube-VOS valid, without the videos of the test split: the server keeps the masks",
        scored=False,
    ),
    "ref-youtube-vos-train": Benchmark(
        lambda folder: RefYoutubeVosDataset(folder, TRAIN),
        ExpressionMetric(),
        _YOUTUBE_VOS_FOLDERS,
        "Ref-YouTube-VOS train: means over sentences",
    ),
    "ref-davis17": Benchmark(
        RefDavis17Dataset,
        RefDavis17Metric(),
        AnnotatorFolders(),
        "Ref-DAVIS17 by DAVIS's unsupervised evaluator: four annotators, objects matched, void left out",
        truth=scoring_truth,
    ),
    "ref-davis17-expressions": Benchmark(
        RefDavis17ExpressionDataset,
        ExpressionMetric(),
        _MEVIS_FOLDERS,
        "Ref-DAVIS17 as GLUS and VISA evaluate it: each sentence by itself",
    ),
    "revos": Benchmark(
        RevosDataset,
        RevosMetric(),
        ExpressionFolders(value=1, missing_folder=ZERO, missing_frame=ZERO),
        "ReVOS (tools/eval_revos.py): the mean of referring and reasoning sentences",
        truth=scoring_truth,
    ),
    "reasonvos": Benchmark(
        ReasonVosDataset,
        ExpressionMetric(),
        ExpressionFolders(missing_folder=SKIP),
        "ReasonVOS as GLUS evaluates it: means over sentences",
    ),
    "reasonvos-videolisa": Benchmark(
        ReasonVosDataset,
        ExpressionMetric(),
        ExpressionFolders(missing_folder=SKIP, folder=by_object),
        "ReasonVOS in VideoLISA's folders: means over sentences",
    ),
    "long-rvos": Benchmark(
        LongRvosDataset,
        LongRvosMetric(),
        ExpressionFolders(top="Annotations", missing_folder=ZERO, missing_frame=EMPTY),
        "Long-RVOS (eval/eval_long_rvos): means over sentences",
    ),
}
_GENERATED = Benchmark(
    lambda folder: GeneratedDataset(), ExpressionMetric(), _MEVIS_FOLDERS, "the generated set: means over sentences"
)


class OpenedBenchmark(NamedTuple):
    """A set with how it is evaluated."""

    name: str
    benchmark: Benchmark
    dataset: Dataset


def open_benchmark(address: str) -> OpenedBenchmark:
    """The generated held-out set, NAME:FOLDER for a name of BENCHMARKS, or a folder in MeViS's format. InputError: none.

    A name wins over a folder that is called so: `./generated` is the folder.
    """
    if address == GENERATED:
        return OpenedBenchmark(GENERATED, _GENERATED, GeneratedDataset())
    name, colon, folder = address.partition(":")
    if not colon or name not in BENCHMARKS:
        if (name in BENCHMARKS or colon) and not Path(address).exists():
            raise InputError(
                f"dataset {address!r}: got neither a folder nor a set with its folder, expected {GENERATED}, FOLDER or "
                f"NAME:FOLDER with a NAME of {', '.join(BENCHMARKS)}"
            )
        name, folder = MEVIS, address
    if not Path(folder).is_dir():
        raise InputError(f"dataset {folder or address}: no such folder, expected the folder of {name}")
    return OpenedBenchmark(name, BENCHMARKS[name], BENCHMARKS[name].open(Path(folder)))


def open_dataset(address: str) -> Dataset:
    """The videos alone; see `open_benchmark`."""
    return open_benchmark(address).dataset
