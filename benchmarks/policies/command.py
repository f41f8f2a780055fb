"""`python -m glus_edge.benchmarks.policies --journal FILE`: what each policy of the loop costs in accuracy, and saves.

Runs policies over the generated held-out set, one sentence at a time, so that a rule's call rate is a sentence's own.
Thresholds are set on other generated videos for the call rate of asking every 5th frame, then frozen. Differences are
paired bootstraps over videos. Broken off, it goes on from its journal; both image towers run once a video for all policies.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from glus_edge.benchmarks.accuracy.bootstrap import PairedDifference
from glus_edge.benchmarks.accuracy.evaluation import ROW, SentenceScore, frame_row, score_of
from glus_edge.benchmarks.datasets.dataset import NO_TARGET, Dataset, ReferringVideo
from glus_edge.benchmarks.datasets.generated_dataset import GeneratedDataset
from glus_edge.benchmarks.instruments.environment import environment
from glus_edge.benchmarks.policies.caching_engine import CachingBackend
from glus_edge.benchmarks.policies.journal import FORMAT, PolicyJournal
from glus_edge.benchmarks.policies.oracle import OracleRule, Truth
from glus_edge.benchmarks.policies.rule_list import EVERY_5, FITTED, FIXED, NAMES, ORACLE, fitted_threshold
from glus_edge.benchmarks.policies.table import call_rate, policy_figures, policy_table
from glus_edge.runtime.backends.onnxruntime_engine import OnnxRuntimeBackend, OnnxRuntimeOptions
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.commands.arguments import add_bundle_argument, bundle_from_arguments
from glus_edge.runtime.errors import GlusEdgeError, InputError
from glus_edge.runtime.policies.loop_rules import LoopChoice
from glus_edge.runtime.segmenter import Segmenter
from glus_edge.runtime.utils.atomic_file import check_file, write_file
from glus_edge.runtime.utils.progress import Progress, terminal_bar
from glus_edge.runtime.utils.schema import to_json
from glus_edge.runtime.video.video import Video
from glus_edge.training.data.video import VALIDATION


def main(arguments: list[str] | None = None) -> int:
    """The command; 0, or 2 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m glus_edge.benchmarks.policies", description=__doc__)
    add_bundle_argument(parser)
    parser.add_argument(
        "--journal", type=Path, required=True, metavar="JSONL", help="what has been run; goes on from it"
    )
    parser.add_argument("--policies", default=",".join(NAMES), metavar="P,P", help="(default: %(default)s)")
    parser.add_argument("--videos", type=int, default=60, help="held-out videos (default: %(default)s)")
    parser.add_argument("--threshold-videos", type=int, default=8, help="to set thresholds on (default: %(default)s)")
    parser.add_argument("--call-rate", type=float, metavar="PERCENT", help="wanted (default: that of every-5)")
    parser.add_argument("--output", type=Path, metavar="JSON", help="the record to write")
    parser.add_argument("--threads", type=int, default=0, help="0: every usable core (default)")
    try:
        return _run(parser.parse_args(arguments))
    except GlusEdgeError as error:
        print(f"policies: error: {error}", file=sys.stderr)
        return 2


class Comparison:
    """Runs policies over videos, each pair once."""

    def __init__(self, bundle: Bundle, journal: PolicyJournal, threads: int = 0) -> None:
        self._backend = CachingBackend(OnnxRuntimeBackend(bundle, OnnxRuntimeOptions(threads=threads)))
        self._segmenter = Segmenter(bundle, self._backend)
        self._journal = journal

    def close(self) -> None:
        """Releases the engines."""
        self._segmenter.close()

    def scores(self, dataset: Dataset, videos: int, choices: Sequence[LoopChoice], progress: Progress) -> None:
        """Makes sure that every policy has been run over the first `videos` videos."""
        for number in progress(range(videos), videos, f"{dataset.name}, {len(choices)} policies"):
            asked = None
            for choice in choices:
                if self._journal.scores(dataset.name, f"{number:03d}", described(choice)) is None:
                    asked = asked or dataset[number]
                    scores = self._video(asked, choice)
                    self._journal.add(dataset.name, f"{number:03d}", described(choice), scores)
            self._backend.forget()

    def found(self, dataset: Dataset, videos: int, choice: LoopChoice) -> list[SentenceScore]:
        """The scores of a policy that has been run."""
        lines = (self._journal.scores(dataset.name, f"{number:03d}", described(choice)) for number in range(videos))
        return [score for line in lines for score in line or ()]

    def thresholds(self, dataset: Dataset, videos: int, names: Sequence[str], wanted: float | None) -> None:
        """Sets the thresholds that are not yet set, for a call rate in percent."""

        def rate(choice: LoopChoice) -> float:
            self.scores(dataset, videos, (choice,), terminal_bar)
            return call_rate(self.found(dataset, videos, choice)) / 100

        missing = [name for name in names if name not in self._journal.thresholds]
        if missing:
            share = rate(FIXED[EVERY_5]) if wanted is None else wanted / 100
            for name in missing:
                rule = FITTED[name]
                threshold = fitted_threshold(lambda t, r=rule: rate(r.choice(t)), share, rising=rule.rising)  # type: ignore[misc]
                self._journal.add_threshold(name, threshold)

    def _video(self, asked: ReferringVideo, choice: LoopChoice) -> list[SentenceScore]:
        places = [place for place, sentence in enumerate(asked.sentences) if sentence.kind != NO_TARGET]
        with closing(asked.open()) as video:
            return [self._sentence(asked, video, place, choice) for place in places]

    def _sentence(self, asked: ReferringVideo, video: Video, place: int, choice: LoopChoice) -> SentenceScore:
        truth = Truth()
        if isinstance(choice.refresh, OracleRule):
            choice = replace(choice, refresh=OracleRule(truth=truth))
        sentence = asked.sentences[place]
        results = iter(self._segmenter.segment(video, [sentence.text], **vars(choice)))
        rows = np.zeros((video.frame_count, ROW))
        for index in range(video.frame_count):
            true = asked.truth(index)[place]
            truth.show(true)
            result = next(results)
            rows[index] = frame_row(result.masks[0], true, result.scores[0].segmented, result.asked)
        return score_of(asked.name, sentence, rows)


def described(choice: LoopChoice) -> str:
    """A policy's rules on one line; the name it has in the journal."""
    refresh = choice.refresh if isinstance(choice.refresh, str) else choice.refresh.name
    return " ".join((choice.policy, refresh, choice.memory, choice.lost))


def _run(arguments: argparse.Namespace) -> int:
    names = tuple(dict.fromkeys(arguments.policies.split(",")))
    for name in names:
        if name not in NAMES:
            raise InputError(f"--policies: got {name!r}, expected some of {','.join(NAMES)}")
    held_out, training = GeneratedDataset(), GeneratedDataset(VALIDATION, "generated for thresholds")
    for option, number, dataset in (
        ("--videos", arguments.videos, held_out),
        ("--threshold-videos", arguments.threshold_videos, training),
    ):
        if not 0 < number <= len(dataset):
            raise InputError(f"{option}: got {number}, expected 1 to {len(dataset)}")
    if arguments.call_rate is not None and not 0 < arguments.call_rate <= 100:
        raise InputError(f"--call-rate: got {arguments.call_rate:g}, expected above 0 and at most 100, in percent")
    if arguments.output:
        check_file(arguments.output)
    bundle = Bundle.open(bundle_from_arguments(arguments))
    manifest = hashlib.sha256((bundle.directory / "manifest.json").read_bytes()).hexdigest()
    journal = PolicyJournal(arguments.journal, manifest)
    with closing(Comparison(bundle, journal, arguments.threads)) as comparison:
        fitted = [name for name in names if name in FITTED]
        comparison.thresholds(training, arguments.threshold_videos, fitted, arguments.call_rate)
        choices = {name: _choice(name, journal) for name in names}
        comparison.scores(held_out, arguments.videos, tuple(choices.values()), terminal_bar)
        scores = {name: comparison.found(held_out, arguments.videos, choice) for name, choice in choices.items()}
    figures = policy_figures(scores, {name: described(choice) for name, choice in choices.items()})
    print(
        f"{bundle.manifest.name}: {arguments.videos} held-out videos, {len(scores[names[0]])} sentences, points of J&F"
    )
    for line in policy_table(figures):
        print(line)
    if arguments.output:
        record = {
            "format": FORMAT,
            "bundle": bundle.manifest.name,
            "videos": arguments.videos,
            "thresholds": journal.thresholds,
            "environment": to_json(environment(arguments.threads)),
            "policies": [to_json(row) | {"against": _against(row.against)} for row in figures],
        }
        write_file(arguments.output, json.dumps(record, indent=1, allow_nan=False).encode() + b"\n")
    return 0


def _choice(name: str, journal: PolicyJournal) -> LoopChoice:
    if name == ORACLE:
        return LoopChoice("window", OracleRule())
    return FITTED[name].choice(journal.thresholds[name]) if name in FITTED else FIXED[name]


def _against(differences: dict[str, PairedDifference]) -> dict[str, object]:
    return {other: difference._asdict() for other, difference in differences.items()}
