"""What each precision costs in J&F and saves in bytes: one bundle written in several, each scored on the same videos.

    python -m glus_edge.calibration.precisions --bundle fp32 [--fp16 BUNDLE] --output DIR [--videos N] [--clips generated]

Variants and scores are kept in DIR as they are made: a run that was stopped goes on where it stood.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
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
from glus_edge.calibration.clips.clips import open_clips
from glus_edge.calibration.journal import Journal
from glus_edge.calibration.measure import Scales, measure
from glus_edge.calibration.recipe import Recipe
from glus_edge.calibration.settings import CalibrationSettings
from glus_edge.export.staging import new_folder
from glus_edge.runtime.bundle.bundle import Bundle, read_manifest, sha256
from glus_edge.runtime.errors import GlusEdgeError, InputError, OutputError
from glus_edge.runtime.policies.window import POLICIES
from glus_edge.runtime.segmenter import Segmenter
from glus_edge.runtime.utils.atomic_file import write_file
from glus_edge.runtime.utils.progress import silent
from glus_edge.runtime.utils.schema import from_json, to_json

LANGUAGE, ENCODERS = ("language_model",), ("clip_encoder", "image_encoder")


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


class PrecisionRow(NamedTuple):
    """One line of the table."""

    name: str
    size_bytes: int
    j_and_f: float
    difference: PairedDifference | None  # from the source; None of itself


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True, help="in fp32: what the others are made from")
    parser.add_argument(
        "--fp16", type=Path, metavar="BUNDLE", help="the same checkpoint exported with --precision fp16"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="variants, scores and the table")
    parser.add_argument("--dataset", default=GENERATED, metavar="generated|FOLDER", help="what is scored")
    parser.add_argument("--videos", type=int, metavar="N", help="the first N videos only")
    parser.add_argument("--clips", default=GENERATED, metavar="generated|FOLDER", help="what is calibrated on")
    parser.add_argument("--count", type=int, default=16, metavar="N", help="clips to calibrate on")
    parser.add_argument("--policy", choices=POLICIES, default="exact", help="query window (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        rows = run(arguments)
    except GlusEdgeError as error:
        print(f"precisions: error: {error}", file=sys.stderr)
        return 2
    print("| weights | bundle MB | J&F | difference [95%] |\n|---|---|---|---|")
    for row in rows:
        d = row.difference
        told = "" if d is None else f"{d.mean:+.2f} [{d.low:+.2f}, {d.high:+.2f}]"
        print(f"| {row.name} | {row.size_bytes / 1e6:.1f} | {row.j_and_f:.2f} | {told} |")
    return 0


def run(arguments: argparse.Namespace) -> list[PrecisionRow]:
    """Makes and scores every variant; writes DIR/precisions.json. Errors: those of calibration and evaluation."""
    dataset = open_dataset(arguments.dataset)
    videos = video_count(dataset, arguments.videos)
    try:
        arguments.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"--output {arguments.output}: cannot be made ({error.strerror}); name another") from error
    bundles = {SOURCE_NAME: arguments.bundle}
    if arguments.fp16 is not None:
        bundles[HALF_NAME] = arguments.fp16
    bundles |= variants(arguments.bundle, arguments.output, arguments.clips, arguments.count)
    rows: list[PrecisionRow] = []
    found: dict[str, dict[Key, float]] = {}
    for name, path in bundles.items():
        scores = scored(
            path, dataset, videos, EvaluationRules(arguments.policy), arguments.output / f"{_plain(name)}.jsonl"
        )
        found[name] = {(s.video, s.sentence): s.j_and_f for s in scores if s.kind != NO_TARGET}
        if not found[name]:
            raise InputError(
                f"{dataset.name}: got {videos} videos where no sentence has a target, expected one to score"
            )
        mean = sum(found[name].values()) / len(found[name])
        difference = None if name == SOURCE_NAME else paired_bootstrap(found[name], found[SOURCE_NAME])
        rows.append(PrecisionRow(name, size_bytes(Bundle.open(path).manifest), mean, difference))
        print(f"{name}: J&F {mean:.2f}", file=sys.stderr, flush=True)
    record = {
        "dataset": dataset.name,
        "videos": videos,
        "rows": [row._asdict() | {"difference": row.difference and row.difference._asdict()} for row in rows],
        "environment": to_json(environment(0)),
    }
    write_file(arguments.output / "precisions.json", json.dumps(record, indent=1).encode() + b"\n")
    return rows


def variants(source: Path, folder: Path, clips: str, count: int) -> dict[str, Path]:
    """Writes the variants that are not there yet, or are of another source or other clips; paths by name."""
    paths = {name: folder / _plain(name) for name in VARIANTS}
    graphs = {name: to_json(entry) for name, entry in read_manifest(source).graphs.items()}
    key: dict[str, object] = {"graphs": graphs, "clips": clips, "count": count}
    text, made_of = json.dumps(key, sort_keys=True).encode(), folder / "variants.json"
    if not made_of.is_file() or made_of.read_bytes() != text:
        for path in paths.values():
            shutil.rmtree(path, ignore_errors=True)
        write_file(made_of, text)
    missing = {name: path for name, path in paths.items() if not (path / "manifest.json").is_file()}
    if missing:
        bundle = Bundle.open(source)
        settings = CalibrationSettings(source, clips, folder, count=count, prompts=2 * count, images=2 * count)
        journal = Journal(folder / "calibration", key)
        recipe, scales = measure(bundle, open_clips(clips, count), settings, journal, _report)
        for name, path in missing.items():
            _write(bundle, recipe, scales, VARIANTS[name], path)
    return paths


def _write(bundle: Bundle, recipe: Recipe, scales: Scales, variant: Variant, path: Path) -> None:
    precisions = dict.fromkeys(LANGUAGE, variant.language) | dict.fromkeys(ENCODERS, variant.encoders)
    chosen: Mapping[tuple[str, str], str] = {
        (graph, name): precisions[graph] for graph, matrices in recipe.graphs.items() for name in matrices
    }
    lowered = replace(recipe.with_precisions(chosen), awq=variant.awq)
    shutil.rmtree(path, ignore_errors=True)
    with new_folder(path, overwrite=False) as folder:
        write_bundle(bundle, lowered, scales, folder, _report)


def scored(bundle: Path, dataset: Dataset, videos: int, rules: EvaluationRules, record: Path) -> list[SentenceScore]:
    """Scores of the first videos, each kept in `record` as soon as it is there."""
    lines = record.read_text().splitlines() if record.is_file() else []
    head = json.dumps(
        {"bundle": sha256(bundle / "manifest.json"), "dataset": dataset.name, "rules": to_json(rules)}, sort_keys=True
    )
    if not lines or lines[0] != head:
        lines = [head]
    done = [line for line in lines[1:] if line.endswith("]")]  # a last line that was cut off is run again
    write_file(record, ("\n".join([head, *done]) + "\n").encode())
    scores = [from_json(SentenceScore, score) for line in done[:videos] for score in json.loads(line)]
    if len(done) < videos:
        with Segmenter.open(bundle) as segmenter, record.open("a") as file:
            for number in range(len(done), videos):
                found = evaluate(segmenter, _One(dataset, number), 1, rules, silent)
                file.write(json.dumps([to_json(score) for score in found]) + "\n")
                file.flush()
                scores += found
    return scores


class _One:
    """One video of a set, as a Dataset."""

    def __init__(self, dataset: Dataset, number: int) -> None:
        self.name = dataset.name
        self._dataset, self._number = dataset, number

    def __len__(self) -> int:
        return 1

    def __getitem__(self, number: int, /) -> ReferringVideo:
        return self._dataset[self._number]


def _plain(name: str) -> str:
    return name.replace(",", "").replace(" ", "-")


def _report(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
