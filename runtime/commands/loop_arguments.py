"""The arguments that choose the rules of the loop."""

import argparse

from glus_edge.runtime.policies.loop_rules import PRESETS, LoopChoice, loop_choice
from glus_edge.runtime.policies.lost_target import LOST_RULES
from glus_edge.runtime.policies.memory_rule import PARTS, REFERENCE
from glus_edge.runtime.policies.refresh import RULES
from glus_edge.runtime.policies.window import POLICIES


def add_loop_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --preset, --policy, --refresh, --memory and --lost."""
    parts = "; ".join(
        f"{name} = {choice.policy}, {choice.refresh}, {choice.memory}, {choice.lost}"
        for name, choice in PRESETS.items()
    )
    parser.add_argument(
        "--preset",
        choices=tuple(PRESETS),
        default="exact",
        help=f"the four rules below at once, each of which may be given by itself: {parts} (default: %(default)s)",
    )
    parser.add_argument("--policy", choices=POLICIES, help="query window")
    refresh = ", ".join(f"{rule}:{','.join(fields)}" if fields else rule for rule, fields in RULES.items())
    parser.add_argument("--refresh", metavar="RULE", help=f"when the language model is asked: {refresh}")
    parser.add_argument(
        "--memory",
        metavar="RULE",
        help=f"which frames' memories are kept: {REFERENCE}, or parts joined by +: {', '.join(PARTS)}",
    )
    parser.add_argument("--lost", choices=LOST_RULES, help="what becomes of masks when the object is gone")


def choice_from_arguments(arguments: argparse.Namespace) -> LoopChoice:
    """The rules that `add_loop_arguments` asked for."""
    return loop_choice(arguments.preset, arguments.policy, arguments.refresh, arguments.memory, arguments.lost)
