"""The record of an evaluation, and what is printed of it."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from glus_edge.benchmarks.accuracy.bootstrap import Key, PairedDifference, paired_bootstrap
from glus_edge.benchmarks.accuracy.evaluation import EvaluationRules, SentenceScore, averages, summary
from glus_edge.benchmarks.datasets.dataset import NO_TARGET
from glus_edge.benchmarks.datasets.open_dataset import OpenedBenchmark
from glus_edge.benchmarks.instruments.environment import environment
from glus_edge.runtime.errors import InputError
from glus_edge.runtime.utils.atomic_file import write_file
from glus_edge.runtime.utils.schema import to_json

FORMAT = "glus-edge evaluation"


def evaluation_record(
    arguments: argparse.Namespace,
    opened: OpenedBenchmark,
    videos: int,
    head: dict[str, Any],
    scores: Sequence[SentenceScore],
) -> dict[str, Any]:
    """All that is known of one run. `head`: what was run; its entries go before others of the same name."""
    frames = sum(score.frames for score in scores)
    return {
        "format": FORMAT,
        **to_json(summary(scores)),
        **to_json(EvaluationRules()),
        "language_model_calls": sum(score.asked * score.frames for score in scores) / frames
        if frames
        else None,  # per hundred frames
        "dataset": opened.dataset.name,
        "benchmark": opened.name,
        "protocol": opened.benchmark.protocol,
        "averages": averages(opened.benchmark.metric, scores) if scores and scores[0].figures else {},
        "videos": videos,
        "sentences": len(scores),
        "environment": to_json(environment(arguments.threads)),
        "difference": None,
        "reference": None,
        "scores": [to_json(score) | {"j_and_f": score.j_and_f} for score in scores],
        **head,
    }


def finish_run(
    arguments: argparse.Namespace,
    opened: OpenedBenchmark,
    videos: int,
    head: dict[str, Any],
    scores: Sequence[SentenceScore],
    earlier: dict[Key, float] | None,
) -> int:
    """Writes the record of one run and prints it; the exit code. InputError: nothing in common with `earlier`."""
    record = evaluation_record(arguments, opened, videos, head, scores)
    difference = None
    if earlier is not None:
        now = with_target(scores)
        if now.keys() & earlier.keys():
            difference = paired_bootstrap(now, earlier)
            record["difference"] = {"to": str(arguments.compare), **difference._asdict()}
    write_record(arguments.output, record)
    print_record(record, difference)
    if earlier is not None and difference is None:
        raise InputError(
            f"{arguments.compare}: got no sentence of these videos, expected a record of {opened.dataset.name}; "
            f"{arguments.output} was written without the difference"
        )
    return 0


def with_target(scores: Sequence[SentenceScore]) -> dict[Key, float]:
    """J&F, in points, of every sentence that has a target."""
    return {(score.video, score.sentence): score.j_and_f for score in scores if score.kind != NO_TARGET}


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Writes the file, whole or not at all. OutputError."""
    write_file(path, json.dumps(record, indent=1, allow_nan=False).encode() + b"\n")


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


def print_record(record: dict[str, Any], difference: PairedDifference | None) -> None:
    """For people."""
    print(f"{record['videos']} videos, {record['sentences']} sentences; points, 0 to 100")
    print(f"  protocol: {record['protocol']}")
    for kind, value in record["j_and_f"].items():
        if value is not None:
            print(f"  J&F {kind:12s} {value:6.2f}")
    if record["empty_accuracy"] is not None:
        print(f"  empty where nothing is meant {record['empty_accuracy']:6.2f}")
    for name, value in record["averages"].items():
        print(f"  {name:28s} {value:6.2f}")
    if difference:
        print(
            f"  difference {difference.mean:+.2f} [{difference.low:+.2f}, {difference.high:+.2f}] "
            f"over {difference.sentences} sentences of {difference.videos} videos"
        )
