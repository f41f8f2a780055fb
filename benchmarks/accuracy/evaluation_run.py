"""A resumable evaluation of one or more variants: what a broken-off run has finished is not run again."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from glus_edge.benchmarks.accuracy.bootstrap import Key, paired_bootstrap
from glus_edge.benchmarks.accuracy.evaluation import Scoring, SentenceScore, evaluate_video
from glus_edge.benchmarks.accuracy.evaluation_journal import EvaluationJournal, FinishedVideo, journal_path
from glus_edge.benchmarks.accuracy.evaluation_record import (
    evaluation_record,
    finish_run,
    print_record,
    with_target,
    write_record,
)
from glus_edge.benchmarks.accuracy.prediction_folder import PredictionFolder, video_files
from glus_edge.benchmarks.accuracy.scorer import ProcessScorer, Scorer
from glus_edge.benchmarks.accuracy.sweep import Variant
from glus_edge.benchmarks.datasets.dataset import ReferringVideo
from glus_edge.benchmarks.datasets.open_dataset import OpenedBenchmark
from glus_edge.runtime.bundle.bundle import read_manifest
from glus_edge.runtime.bundle.manifest import Manifest
from glus_edge.runtime.commands.arguments import opened_segmenter, options_from_arguments
from glus_edge.runtime.segmenter import Segmenter
from glus_edge.runtime.utils.progress import terminal_bar
from glus_edge.runtime.utils.schema import to_json

SWEEP_FORMAT = "glus-edge evaluation sweep"


def evaluate_variants(
    arguments: argparse.Namespace,
    opened: OpenedBenchmark,
    videos: int,
    variants: dict[str, tuple[Path, list[Variant]]],
    earlier: dict[Key, float] | None,
) -> int:
    """Runs all variants over all videos, then writes records and submissions; the exit code.

    The journal is removed when the records are there. Errors: those of `Segmenter.segment` and of the set; OutputError.
    """
    runs = [variant for _, each in variants.values() for variant in each]
    sweep = len(runs) > 1
    bundles = {
        precision: {name: to_json(graph) for name, graph in read_manifest(path).graphs.items()}
        for precision, (path, _) in variants.items()
    }
    header = {
        "dataset": arguments.dataset,
        "bundles": bundles,
        "options": to_json(options_from_arguments(arguments)),
        "predictions": None if arguments.predictions is None else str(arguments.predictions),
    }
    folders = {variant.name: _predictions(arguments, opened, variant, sweep) for variant in runs}
    if not journal_path(arguments.output).exists():  # what a broken-off run wrote is gone on with
        for folder in folders.values():
            if folder is not None:
                folder.check_new()
    journal = EvaluationJournal(arguments.output, header)
    facts: dict[str, dict[str, Any]] = {}
    with ProcessScorer() as scorer:
        for precision, (path, own) in variants.items():
            with opened_segmenter(path, options_from_arguments(arguments)) as segmenter:
                for number in terminal_bar(range(videos), videos, f"evaluating {precision}"):
                    for variant in own:
                        _run_video(journal, segmenter, opened, number, variant, scorer, folders[variant.name])
                facts[precision] = model_facts(segmenter.bundle.manifest, segmenter.backend.name)
    results = {variant.name: _collected(journal, opened, videos, variant) for variant in runs}
    for variant in runs:
        folder = folders[variant.name]
        if arguments.submission is not None and folder is not None:
            path = _beside(arguments.submission, variant, sweep)
            count = folder.pack(path, _submitted(opened, videos, folder))
            print(f"{path}: {count} masks")
    if sweep:
        _finish_sweep(arguments, opened, videos, runs, facts, results)
    else:
        (variant,) = runs
        head = facts[variant.precision] | to_json(variant.rules)
        finish_run(arguments, opened, videos, head, results[variant.name], earlier)
    journal.remove()
    return 0


def _run_video(
    journal: EvaluationJournal,
    segmenter: Segmenter,
    opened: OpenedBenchmark,
    number: int,
    variant: Variant,
    scorer: Scorer,
    folder: PredictionFolder | None,
) -> None:
    """Runs one video unless it is finished, and its files are whole."""
    asked = opened.dataset[number]
    finished = journal.finished(variant.name, asked.name)
    if finished is not None and (folder is None or folder.is_whole(video_files(folder.layout, asked, _stems(asked)))):
        return
    benchmark = opened.benchmark
    scoring = Scoring(benchmark.metric, benchmark.truth if benchmark.scored else None)
    scores = evaluate_video(segmenter, asked, variant.rules, scoring, scorer, folder)
    journal.add(FinishedVideo(variant.name, asked.name, tuple(scores)))


def _stems(asked: ReferringVideo) -> tuple[str, ...]:
    """The names of a video's frames."""
    with closing(asked.open()) as video:
        return tuple(video.stems)


def _collected(
    journal: EvaluationJournal, opened: OpenedBenchmark, videos: int, variant: Variant
) -> list[SentenceScore]:
    scores: list[SentenceScore] = []
    for number in range(videos):
        finished = journal.finished(variant.name, opened.dataset[number].name)
        assert finished is not None, "every video has been run"
        scores += finished.scores
    return scores


def _predictions(
    arguments: argparse.Namespace, opened: OpenedBenchmark, variant: Variant, sweep: bool
) -> PredictionFolder | None:
    if arguments.predictions is None:
        return None
    root = arguments.predictions / variant.name if sweep else arguments.predictions
    return PredictionFolder(root, opened.benchmark.layout)


def _submitted(opened: OpenedBenchmark, videos: int, folder: PredictionFolder) -> Iterator[str]:
    for number in range(videos):
        asked = opened.dataset[number]
        yield from video_files(folder.layout, asked, _stems(asked))


def _beside(path: Path, variant: Variant, sweep: bool) -> Path:
    """The path itself, or with the variant in its name."""
    return path.with_name(f"{path.stem}.{variant.name}{path.suffix}") if sweep else path


def model_facts(manifest: Manifest, backend: str) -> dict[str, Any]:
    """What a record says of the model."""
    return {
        "bundle": manifest.name,
        "backend": backend,
        "precision": {name: f"{graph.compute}, weights {graph.weights}" for name, graph in manifest.graphs.items()},
    }


def _finish_sweep(
    arguments: argparse.Namespace,
    opened: OpenedBenchmark,
    videos: int,
    runs: Sequence[Variant],
    facts: dict[str, dict[str, Any]],
    results: dict[str, list[SentenceScore]],
) -> None:
    """Writes a record for every variant, and one that lists them with their differences from the first."""
    first = with_target(results[runs[0].name])
    rows = []
    for variant in runs:
        scores = results[variant.name]
        record = evaluation_record(arguments, opened, videos, facts[variant.precision] | to_json(variant.rules), scores)
        path = _beside(arguments.output, variant, True)
        now = with_target(scores)
        difference = paired_bootstrap(now, first) if variant != runs[0] and now else None
        record["difference"] = difference and {"to": runs[0].name, **difference._asdict()}
        write_record(path, record)
        print(variant.name)
        print_record(record, difference)
        rows.append(
            {"variant": variant.name, "record": path.name, "averages": record["averages"]}
            | {"j_and_f": record["j_and_f"], "difference": record["difference"]}
        )
    write_record(arguments.output, {"format": SWEEP_FORMAT, "benchmark": opened.name, "videos": videos, "rows": rows})
