"""`glus-edge bench policies --journal FILE`: what each policy of the loop costs in accuracy, and saves."""

import argparse
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from glus_edge.benchmarks.accuracy.bootstrap import PairedDifference
from glus_edge.benchmarks.datasets.generated_dataset import GeneratedDataset
from glus_edge.benchmarks.instruments.environment import environment
from glus_edge.benchmarks.instruments.record import RecordFile, add_record_arguments
from glus_edge.benchmarks.policies.comparison import Comparison, rules_text
from glus_edge.benchmarks.policies.journal import PolicyJournal
from glus_edge.benchmarks.policies.oracle import OracleRule
from glus_edge.benchmarks.policies.rule_list import FITTED, FIXED, NAMES, ORACLE
from glus_edge.benchmarks.policies.table import policy_figures, policy_table
from glus_edge.runtime.bundle.bundle import Bundle, sha256
from glus_edge.runtime.commands.arguments import add_bundle_argument, bundle_from_arguments
from glus_edge.runtime.errors import InputError
from glus_edge.runtime.policies.loop_rules import LoopChoice
from glus_edge.runtime.utils.progress import terminal_bar
from glus_edge.runtime.utils.schema import to_json
from glus_edge.training.data.video import VALIDATION

_ABOUT = """\
Runs policies over the generated held-out set, one sentence at a time, so that a rule's call rate is a sentence's own.
Thresholds are set on other generated videos for the call rate of asking every 5th frame, then frozen. Differences are
paired bootstraps over videos. Broken off, it goes on from its journal. Both image towers run once a video for all policies.
"""


@dataclass(frozen=True)
class PolicyBenchSettings:
    """What is compared; the command line's defaults. InputError: a policy or number that cannot be."""

    policies: tuple[str, ...] = NAMES
    videos: int = 60  # held out
    threshold_videos: int = 8  # that thresholds are set on
    call_rate: float | None = None  # wanted, percent; None: that of asking every 5th frame
    threads: int = 0  # 0: every usable core

    def __post_init__(self) -> None:
        for name in self.policies:
            if name not in NAMES:
                raise InputError(f"--policies: got {name!r}, expected some of {','.join(NAMES)}")
        if self.call_rate is not None and not 0 < self.call_rate <= 100:
            raise InputError(f"--call-rate: got {self.call_rate:g}, expected above 0 and at most 100, in percent")


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    usual = PolicyBenchSettings()
    parser.description = f"{parser.description} {_ABOUT}"
    add_bundle_argument(parser)
    parser.add_argument(
        "--journal", type=Path, required=True, metavar="JSONL", help="what has been run; goes on from it"
    )
    parser.add_argument("--policies", default=",".join(usual.policies), metavar="P,P", help="(default: %(default)s)")
    parser.add_argument("--videos", type=int, default=usual.videos, help="held-out videos (default: %(default)s)")
    parser.add_argument(
        "--threshold-videos",
        type=int,
        default=usual.threshold_videos,
        help="to set thresholds on (default: %(default)s)",
    )
    parser.add_argument("--call-rate", type=float, metavar="PERCENT", help="wanted (default: that of every-5)")
    parser.add_argument("--threads", type=int, default=usual.threads, help="0: every usable core (default)")
    add_record_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs what the journal does not hold yet, prints the table and writes the record."""
    settings = PolicyBenchSettings(
        policies=tuple(dict.fromkeys(arguments.policies.split(","))),
        videos=arguments.videos,
        threshold_videos=arguments.threshold_videos,
        call_rate=arguments.call_rate,
        threads=arguments.threads,
    )
    held_out, training = GeneratedDataset(), GeneratedDataset(VALIDATION, "generated for thresholds")
    for option, number, dataset in (
        ("--videos", settings.videos, held_out),
        ("--threshold-videos", settings.threshold_videos, training),
    ):
        if not 0 < number <= len(dataset):
            raise InputError(f"{option}: got {number}, expected 1 to {len(dataset)}")
    record_file = RecordFile("policies", arguments)
    bundle = Bundle.open(bundle_from_arguments(arguments))
    journal = PolicyJournal(arguments.journal, sha256(bundle.directory / "manifest.json"))
    with closing(Comparison(bundle, journal, settings.threads)) as comparison:
        fitted = [name for name in settings.policies if name in FITTED]
        comparison.fit_thresholds(training, settings.threshold_videos, fitted, settings.call_rate, terminal_bar)
        choices = {name: _choice(name, journal) for name in settings.policies}
        comparison.run(held_out, settings.videos, tuple(choices.values()), terminal_bar)
        scores = {name: comparison.scores_of(held_out, settings.videos, choice) for name, choice in choices.items()}
    figures = policy_figures(scores, {name: rules_text(choice) for name, choice in choices.items()})
    sentences = len(scores[settings.policies[0]])
    print(f"{bundle.manifest.name}: {settings.videos} held-out videos, {sentences} sentences, points of J&F")
    for line in policy_table(figures):
        print(line)
    record_file.write(
        environment(settings.threads),
        settings,
        [to_json(row) | {"against": _against(row.against)} for row in figures],
        bundle=bundle.manifest.name,
        thresholds=journal.thresholds,
    )
    return 0


def _choice(name: str, journal: PolicyJournal) -> LoopChoice:
    if name == ORACLE:
        return LoopChoice("window", OracleRule())
    return FITTED[name].choice(journal.thresholds[name]) if name in FITTED else FIXED[name]


def _against(differences: dict[str, PairedDifference]) -> dict[str, object]:
    return {other: difference._asdict() for other, difference in differences.items()}
