"""Arguments that several commands share."""

import argparse
from collections.abc import Sequence

import pytest

from glus_edge.runtime.commands.arguments import add_loop_arguments, choice_from_arguments
from glus_edge.runtime.policies.loop_rules import PRESETS, LoopChoice


def choice(arguments: Sequence[str], *, live: bool) -> LoopChoice:
    parser = argparse.ArgumentParser()
    add_loop_arguments(parser, live=live)
    return choice_from_arguments(parser.parse_args(arguments))


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_means_the_same_in_every_command(preset: str, live: bool) -> None:
    assert choice(["--preset", preset], live=live) == PRESETS[preset]


def test_without_a_preset_live_video_has_a_window_that_starts_again() -> None:
    assert choice([], live=False) == LoopChoice()
    assert choice([], live=True) == LoopChoice("window")
    assert choice(["--policy", "rolling"], live=True) == LoopChoice("rolling")
