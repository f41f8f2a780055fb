"""`glus-edge evaluate --bundle B --dataset generated|NAME:FOLDER|FOLDER --output r.json`: how well a bundle segments."""

import argparse
from pathlib import Path

from glus_edge.benchmarks.accuracy.agreement import agreement, agreement_lines, check_rules, run_beside
from glus_edge.benchmarks.accuracy.bootstrap import Key
from glus_edge.benchmarks.accuracy.evaluation_record import finish_run, read_scores
from glus_edge.benchmarks.accuracy.evaluation_run import evaluate_variants, model_facts
from glus_edge.benchmarks.accuracy.prediction_scores import score_predictions
from glus_edge.benchmarks.accuracy.scorer import ProcessScorer
from glus_edge.benchmarks.accuracy.sweep import Variant, add_sweep_arguments, variants_from_arguments
from glus_edge.benchmarks.datasets.dataset import video_count
from glus_edge.benchmarks.datasets.generated_dataset import GENERATED
from glus_edge.benchmarks.datasets.open_dataset import BENCHMARKS, OpenedBenchmark, open_benchmark
from glus_edge.benchmarks.metrics.expression_metric import ExpressionMetric
from glus_edge.benchmarks.reference.baseline import add_baseline_arguments, baseline_from_arguments, open_reference
from glus_edge.runtime.commands.arguments import (
    add_bundle_argument,
    add_engine_arguments,
    add_loop_arguments,
    opened_segmenter,
    options_from_arguments,
)
from glus_edge.runtime.errors import InputError
from glus_edge.runtime.utils.atomic_file import check_file
from glus_edge.runtime.utils.progress import terminal_bar
from glus_edge.runtime.utils.schema import to_json


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    add_bundle_argument(parser)
    parser.add_argument(
        "--dataset",
        default=GENERATED,
        metavar="generated|NAME:FOLDER|FOLDER",
        help=f"the generated held-out set, a set with its folder, or a folder in MeViS's format; NAME is one of "
        f"{', '.join(BENCHMARKS)} (default: %(default)s)",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="JSON", help="the record to write")
    parser.add_argument(
        "--predictions",
        type=Path,
        metavar="DIR",
        help="a new folder for every mask, in the layout that the set's evaluator reads",
    )
    parser.add_argument(
        "--submission", type=Path, metavar="ZIP", help="the file that the set's server takes, made of --predictions"
    )
    parser.add_argument(
        "--score-only", action="store_true", help="score the masks that lie in --predictions; no engine runs"
    )
    add_loop_arguments(parser, several_policies=True)
    add_sweep_arguments(parser)
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
    if arguments.submission is not None:
        check_file(arguments.submission)
    earlier = read_scores(arguments.compare) if arguments.compare else None
    opened = open_benchmark(arguments.dataset)
    videos = video_count(opened.dataset, arguments.videos)
    _check_asked(arguments, opened)
    if arguments.score_only:
        with ProcessScorer() as scorer:
            scores = [
                score
                for number in terminal_bar(range(videos), videos, "scoring")
                for score in score_predictions(arguments.predictions, opened.benchmark, opened.dataset[number], scorer)
            ]
        if not scores:
            raise InputError(f"{arguments.predictions}: got no prediction of {opened.name}, expected at least one")
        return finish_run(arguments, opened, videos, {"predictions": str(arguments.predictions)}, scores, earlier)
    variants = variants_from_arguments(arguments)
    if baseline_from_arguments(arguments) is not None:
        return _beside_the_reference(arguments, opened, videos, variants, earlier)
    return evaluate_variants(arguments, opened, videos, variants, earlier)


def _check_asked(arguments: argparse.Namespace, opened: OpenedBenchmark) -> None:
    """InputError: options that do not go together, or not with the set."""
    if arguments.submission is not None and (arguments.predictions is None or arguments.score_only):
        raise InputError("--submission: got no --predictions to write, expected a folder for the masks it is made of")
    if arguments.score_only and arguments.predictions is None:
        raise InputError("--score-only: got no --predictions, expected the folder that holds the masks")
    if not opened.benchmark.scored and (arguments.predictions is None or arguments.score_only):
        raise InputError(
            f"--dataset {opened.name}: the server keeps the truth, so nothing can be scored here; give --predictions a new "
            "folder, and --submission"
        )


def _beside_the_reference(
    arguments: argparse.Namespace,
    opened: OpenedBenchmark,
    videos: int,
    variants: dict[str, tuple[Path, list[Variant]]],
    earlier: dict[Key, float] | None,
) -> int:
    """One variant and the reference algorithm, a sentence at a time."""
    baseline = baseline_from_arguments(arguments)
    assert baseline is not None
    runs = [(path, variant) for path, own in variants.values() for variant in own]
    if len(runs) > 1 or arguments.predictions is not None or type(opened.benchmark.metric) is not ExpressionMetric:
        raise InputError(
            f"--baseline: got {len(runs)} variants of {opened.name}, expected one, without --predictions, on a set that is "
            "scored by J and F of each sentence"
        )
    path, variant = runs[0]
    check_rules(variant.rules)
    with opened_segmenter(path, options_from_arguments(arguments)) as segmenter:
        reference = open_reference(baseline, segmenter.bundle, arguments.threads)
        pairs = run_beside(segmenter, reference, opened.dataset, videos, variant.rules, terminal_bar)
        head = model_facts(segmenter.bundle.manifest, segmenter.backend.name) | to_json(variant.rules)
    beside = agreement(pairs)
    change = beside.difference._asdict() if beside.difference else None
    head["reference"] = {**to_json(beside), "difference": change}
    finish_run(arguments, opened, videos, head, [pair.ours for pair in pairs], earlier)
    for line in agreement_lines(beside):
        print(line)
    return 0
