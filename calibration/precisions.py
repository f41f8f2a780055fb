"""What each precision costs in J&F and saves in bytes: one bundle written in several, each scored on the same videos.

Bundles and scores are kept in the output folder as they are made: a run that was stopped goes on where it stood.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from glus_edge.benchmarks.accuracy.bootstrap import Key, PairedDifference, paired_bootstrap
from glus_edge.benchmarks.accuracy.evaluation import EvaluationRules, SentenceScore, evaluate
from glus_edge.benchmarks.datasets.dataset import NO_TARGET, Dataset, ReferringVideo, video_count
from glus_edge.benchmarks.datasets.generated_dataset import GENERATED
from glus_edge.benchmarks.datasets.open_dataset import open_dataset
from glus_edge.benchmarks.instruments.environment import environment
from glus_edge.calibration.bundle_files import size_bytes
from glus_edge.calibration.calibrate import write_bundle
from glus_edge.calibration.measure import Scales, measure
from glus_edge.calibration.measurement_store import MeasurementStore
from glus_edge.calibration.recipe import Recipe
from glus_edge.calibration.settings import CalibrationSettings
from glus_edge.calibration.videos.calibration_video import open_calibration_videos
from glus_edge.export.staging import new_folder
from glus_edge.runtime.bundle.bundle import Bundle, read_manifest, sha256
from glus_edge.runtime.errors import InputError, OutputError
from glus_edge.runtime.segmenter import Segmenter
from glus_edge.runtime.utils import jsonl
from glus_edge.runtime.utils.atomic_file import write_file
from glus_edge.runtime.utils.progress import silent
from glus_edge.runtime.utils.schema import SchemaError, from_json, to_json

LANGUAGE, ENCODERS = ("language_model",), ("clip_encoder", "image_encoder")

Report = Callable[[str], None]


class Variant(NamedTuple):
    """One way to store the bundle."""

    language: str  # precision of the language model's matrices
    encoders: str
    awq: bool


VARIANTS = {
    "int8 language": Variant("int8", "source", False),
    "int4 language, RTN": Variant("int4", "source", False),
    "int4 language, AWQ": Variant("int4", "source", True),
    "int8 encoders": Variant("source", "int8", False),
    "int4 AWQ, int8 encoders": Variant("int4", "int8", True),
}
SOURCE_NAME, HALF_NAME = "source", "fp16"


@dataclass(frozen=True)
class PrecisionSettings:
    """What is compared, and on which videos."""

    bundle: Path  # in fp32
    output: Path  # a folder, made if it is not there
    fp16_bundle: Path | None = None  # of the same checkpoint
    dataset: str = GENERATED  # or a folder in MeViS's format
    videos: int | None = None  # of the dataset, from the first; None: all
    calibration_videos: str = GENERATED  # as CalibrationSettings has it
    calibration_count: int = 16
    policy: str = "exact"  # query window


class PrecisionRow(NamedTuple):
    """One line of the table."""

    name: str
    size_bytes: int
    j_and_f: float
    difference: PairedDifference | None  # from the source; None of itself


def compare_precisions(settings: PrecisionSettings, report: Report) -> list[PrecisionRow]:
    """Writes and scores every variant, then output/precisions.json. Errors: those of calibration and evaluation."""
    dataset = open_dataset(settings.dataset)
    videos = video_count(dataset, settings.videos)
    try:
        settings.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"--output {settings.output}: cannot be made ({error.strerror}); name another") from error
    bundles = {SOURCE_NAME: settings.bundle}
    if settings.fp16_bundle is not None:
        bundles[HALF_NAME] = settings.fp16_bundle
    bundles |= write_variants(settings, report)
    rules = EvaluationRules(settings.policy)
    rows: list[PrecisionRow] = []
    of_source: dict[Key, float] = {}
    for name, path in bundles.items():
        scores = score_videos(path, dataset, videos, rules, settings.output / f"{_file_name(name)}.jsonl")
        found = {(each.video, each.sentence): each.j_and_f for each in scores if each.kind != NO_TARGET}
        if not found:
            raise InputError(
                f"{dataset.name}: got {videos} videos where no sentence has a target, expected one to score"
            )
        mean = sum(found.values()) / len(found)
        of_source = of_source or found  # the first bundle is the source
        difference = None if name == SOURCE_NAME else paired_bootstrap(found, of_source)
        rows.append(PrecisionRow(name, size_bytes(Bundle.open(path).manifest), mean, difference))
        report(f"{name}: J&F {mean:.2f}")
    _write_record(settings.output / "precisions.json", dataset.name, videos, rows)
    return rows


def _write_record(path: Path, dataset: str, videos: int, rows: Sequence[PrecisionRow]) -> None:
    record = {
        "dataset": dataset,
        "videos": videos,
        "rows": [row._asdict() | {"difference": row.difference and row.difference._asdict()} for row in rows],
        "environment": to_json(environment(0)),
    }
    write_file(path, json.dumps(record, indent=1).encode() + b"\n")


def write_variants(settings: PrecisionSettings, report: Report) -> dict[str, Path]:
    """Writes the variants that are missing, or are of another source or other calibration videos; paths by name."""
    folder, count = settings.output, settings.calibration_count
    paths = {name: folder / _file_name(name) for name in VARIANTS}
    graphs = {name: to_json(entry) for name, entry in read_manifest(settings.bundle).graphs.items()}
    key: dict[str, object] = {"graphs": graphs, "videos": settings.calibration_videos, "count": count}
    text, made_of = json.dumps(key, sort_keys=True).encode(), folder / "variants.json"
    if not made_of.is_file() or made_of.read_bytes() != text:
        for path in paths.values():
            shutil.rmtree(path, ignore_errors=True)
        write_file(made_of, text)
    missing = {name: path for name, path in paths.items() if not (path / "manifest.json").is_file()}
    if missing:
        bundle = Bundle.open(settings.bundle)
        calibration = CalibrationSettings(
            settings.bundle, settings.calibration_videos, folder, count=count, prompts=2 * count, images=2 * count
        )
        store = MeasurementStore(folder / "calibration", key)
        videos = open_calibration_videos(settings.calibration_videos, count)
        recipe, scales = measure(bundle, videos, calibration, store, report)
        for name, path in missing.items():
            _write_variant(bundle, recipe, scales, VARIANTS[name], path, report)
    return paths


def _write_variant(
    bundle: Bundle, recipe: Recipe, scales: Scales, variant: Variant, path: Path, report: Report
) -> None:
    precisions = dict.fromkeys(LANGUAGE, variant.language) | dict.fromkeys(ENCODERS, variant.encoders)
    chosen = {(graph, name): precisions[graph] for graph, matrices in recipe.graphs.items() for name in matrices}
    lowered = replace(recipe.with_precisions(chosen), awq=variant.awq)
    shutil.rmtree(path, ignore_errors=True)
    with new_folder(path, overwrite=False) as folder:
        write_bundle(bundle, lowered, scales, folder, report)


def score_videos(
    bundle: Path, dataset: Dataset, videos: int, rules: EvaluationRules, record: Path
) -> list[SentenceScore]:
    """Scores of the first videos, each kept in `record` as soon as it is there."""
    header = {"bundle": sha256(bundle / "manifest.json"), "dataset": dataset.name, "rules": to_json(rules)}
    journal = jsonl.open_journal(record, header)
    if journal.header != header:
        record.unlink()
        journal = jsonl.open_journal(record, header)
    try:
        done = [from_json(_VideoScores, each) for each in journal.records[:videos]]
    except SchemaError as error:
        raise InputError(f"{record}: {error}; expected scores of `glus-edge bench precisions`") from error
    if len(done) < videos:
        with Segmenter.open(bundle) as segmenter:
            for number in range(len(done), videos):
                found = _VideoScores(tuple(evaluate(segmenter, _OneVideo(dataset, number), 1, rules, silent)))
                jsonl.append(record, to_json(found))
                done.append(found)
    return [score for video in done for score in video.scores]


@dataclass(frozen=True)
class _VideoScores:
    """A line of the record."""

    scores: tuple[SentenceScore, ...]


class _OneVideo:
    """One video of a set, as a Dataset."""

    def __init__(self, dataset: Dataset, number: int) -> None:
        self.name = dataset.name
        self._dataset, self._number = dataset, number

    def __len__(self) -> int:
        return 1

    def __getitem__(self, number: int, /) -> ReferringVideo:
        return self._dataset[self._number]


def _file_name(variant: str) -> str:
    return variant.replace(",", "").replace(" ", "-")
