"""`glus-edge evaluate --bundle B --dataset generated|FOLDER --output r.json`: J&F of a bundle."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from glus_edge.benchmarks.accuracy.agreement import agreement, agreement_lines, run_beside
from glus_edge.benchmarks.accuracy.bootstrap import Key, PairedDifference, paired_bootstrap
from glus_edge.benchmarks.accuracy.evaluation import EvaluationRules, Summary, evaluate, summary
from glus_edge.benchmarks.datasets.dataset import NO_TARGET, video_count
from glus_edge.benchmarks.datasets.generated_dataset import GENERATED
from glus_edge.benchmarks.datasets.open_dataset import open_dataset
from glus_edge.benchmarks.instruments.environment import environment
from glus_edge.benchmarks.reference.baseline import add_baseline_arguments, baseline_from_arguments, open_reference
from glus_edge.runtime.commands.arguments import (
    add_bundle_argument,
    add_engine_arguments,
    add_loop_arguments,
    bundle_from_arguments,
    choice_from_arguments,
    opened_segmenter,
    options_from_arguments,
)
from glus_edge.runtime.errors import InputError
from glus_edge.runtime.utils.atomic_file import check_file, write_file
from glus_edge.runtime.utils.progress import terminal_bar
from glus_edge.runtime.utils.schema import to_json

FORMAT = "glus-edge evaluation"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    add_bundle_argument(parser)
    parser.add_argument(
        "--dataset",
        default=GENERATED,
        metavar="generated|FOLDER",
        help="the generated held-out set, or a folder in MeViS's format (default: %(default)s)",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="JSON", help="the record to write")
    add_loop_arguments(parser)
    parser.add_argument(
        "--keyframe", default="first", metavar="first|N|auto", help="see `segment` (default: %(default)s)"
    )
    parser.add_argument("--videos", type=int, metavar="N", help="the first N videos only")
    parser.add_argument(
        "--compare",
        type=Path,
        metavar="JSON",
        help="an earlier record: the difference, by a paired bootstrap over videos",
    )
    add_baseline_arguments(parser, "beside it on the same sentences: J&F of both, and how far their masks agree")
    add_engine_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Evaluates, writes the record and prints a table. What would spoil the end is said at the beginning."""
    check_file(arguments.output)
    earlier = read_scores(arguments.compare) if arguments.compare else None
    dataset = open_dataset(arguments.dataset)
    videos = video_count(dataset, arguments.videos)
    choice = choice_from_arguments(arguments)
    rules = EvaluationRules(**asdict(choice), key_frame=arguments.keyframe)
    baseline = baseline_from_arguments(arguments)
    beside = None
    with opened_segmenter(bundle_from_arguments(arguments), options_from_arguments(arguments)) as segmenter:
        if baseline is None:
            scores = evaluate(segmenter, dataset, videos, rules, terminal_bar)
        else:
            reference = open_reference(baseline, segmenter.bundle, arguments.threads)
            pairs = run_beside(segmenter, reference, dataset, videos, rules, terminal_bar)
            scores, beside = [pair.ours for pair in pairs], agreement(pairs)
        manifest = segmenter.bundle.manifest
        backend = segmenter.backend.name
    means = summary(scores)
    record: dict[str, Any] = {
        "format": FORMAT,
        **to_json(means),
        **to_json(rules),
        "language_model_calls": sum(score.asked * score.frames for score in scores)
        / sum(score.frames for score in scores),  # per hundred frames
        "dataset": dataset.name,
        "videos": videos,
        "sentences": len(scores),
        "bundle": manifest.name,
        "backend": backend,
        "precision": {name: f"{graph.compute}, weights {graph.weights}" for name, graph in manifest.graphs.items()},
        "environment": to_json(environment(arguments.threads)),
        "difference": None,
        "reference": None,
        "scores": [to_json(score) | {"j_and_f": score.j_and_f} for score in scores],
    }
    if beside is not None:
        change = beside.difference._asdict() if beside.difference else None
        record["reference"] = {**to_json(beside), "difference": change}
    difference = None
    if earlier is not None:
        now = {(score.video, score.sentence): score.j_and_f for score in scores if score.kind != NO_TARGET}
        if now.keys() & earlier.keys():
            difference = paired_bootstrap(now, earlier)
            record["difference"] = {"to": str(arguments.compare), **difference._asdict()}
    write_file(arguments.output, json.dumps(record, indent=1, allow_nan=False).encode() + b"\n")
    _print(means, len(scores), videos, difference)
    for line in agreement_lines(beside) if beside else ():
        print(line)
    if earlier is not None and difference is None:
        raise InputError(
            f"{arguments.compare}: got no sentence of these videos, expected a record of {dataset.name}; "
            f"{arguments.output} was written without the difference"
        )
    return 0


def read_scores(path: Path) -> dict[Key, float]:
    """J&F of every sentence with a target in a record. InputError: the file is none."""
    try:
        document = json.loads(path.read_bytes())
        if document["format"] != FORMAT:
            raise InputError(f"{path}: got {document['format']!r}, expected a record of `glus-edge evaluate`")
        scores = {
            (str(score["video"]), str(score["sentence"])): float(score["j_and_f"])
            for score in document["scores"]
            if score["kind"] != NO_TARGET
        }
        if not all(0 <= points <= 100 for points in scores.values()):
            raise InputError(f"{path}: got a J&F that is not 0 to 100, expected a record of `glus-edge evaluate`")
        return scores
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}), expected a record of `glus-edge evaluate`"
        ) from error
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise InputError(f"{path}: got {error!r}, expected a record of `glus-edge evaluate`") from error


def _print(means: Summary, sentences: int, videos: int, difference: PairedDifference | None) -> None:
    print(f"{videos} videos, {sentences} sentences; points, 0 to 100")
    for kind, value in means.j_and_f.items():
        if value is not None:
            print(f"  J&F {kind:12s} {value:6.2f}")
    if means.empty_accuracy is not None:
        print(f"  empty where nothing is meant {means.empty_accuracy:6.2f}")
    if difference:
        print(
            f"  difference {difference.mean:+.2f} [{difference.low:+.2f}, {difference.high:+.2f}] "
            f"over {difference.sentences} sentences of {difference.videos} videos"
        )
