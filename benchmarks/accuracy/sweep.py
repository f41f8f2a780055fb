"""Which runs one call of `glus-edge evaluate` makes: every precision with every policy and every key frame."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from glus_edge.benchmarks.accuracy.evaluation import EvaluationRules
from glus_edge.runtime.commands.arguments import bundle_from_arguments, choice_from_arguments
from glus_edge.runtime.errors import InputError

SOURCE = "bundle"  # the name of --bundle where no --precision is named


class Variant(NamedTuple):
    """One run."""

    precision: str  # the name of a bundle
    rules: EvaluationRules

    @property
    def name(self) -> str:
        """Unique in a sweep; part of a file's name."""
        rules = self.rules
        parts = (self.precision, rules.policy, rules.refresh, rules.memory, rules.lost, str(rules.key_frame))
        return "-".join(
            "".join(letter if letter.isalnum() or letter in ".+" else "_" for letter in part) for part in parts
        )


def add_sweep_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --precision and --keyframe. --policy is one of the loop's arguments."""
    parser.add_argument(
        "--precision",
        nargs="+",
        metavar="NAME=BUNDLE",
        default=[],
        help="the same checkpoint in several precisions, a bundle each, instead of --bundle: fp16=FOLDER int4=FOLDER",
    )
    parser.add_argument(
        "--keyframe",
        nargs="+",
        default=["first"],
        metavar="first|N|auto",
        help="see `segment`; several are compared (default: first)",
    )


def variants_from_arguments(arguments: argparse.Namespace) -> dict[str, tuple[Path, list[Variant]]]:
    """The bundle of each precision and its runs. InputError: a name that is given twice, or is no NAME=BUNDLE."""
    variants: dict[str, tuple[Path, list[Variant]]] = {}
    policies: Sequence[str | None] = arguments.policy or [None]
    for precision, bundle in _bundles(arguments).items():
        runs: list[Variant] = []
        for policy in dict.fromkeys(policies):
            choice = choice_from_arguments(argparse.Namespace(**{**vars(arguments), "policy": policy}))
            runs += [
                Variant(precision, EvaluationRules(**asdict(choice), key_frame=key_frame))
                for key_frame in dict.fromkeys(arguments.keyframe)
            ]
        variants[precision] = (bundle, runs)
    return variants


def _bundles(arguments: argparse.Namespace) -> dict[str, Path]:
    if not arguments.precision:
        return {SOURCE: bundle_from_arguments(arguments)}
    if arguments.bundle is not None:
        raise InputError("--bundle and --precision: got both, expected one of them; give NAME=BUNDLE to --precision")
    bundles: dict[str, Path] = {}
    for each in arguments.precision:
        name, equals, path = each.partition("=")
        if not name or not equals or not path or name in bundles:
            raise InputError(f"--precision: got {each!r}, expected NAME=BUNDLE, each name once")
        bundles[name] = Path(path)
    return bundles
