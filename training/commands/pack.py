"""`python -m glus_edge.training pack --run RUN --output DIR`: weights and heads; the optimiser is left out."""

import argparse

from glus_edge.training.commands.arguments import add_run_and_output
from glus_edge.training.packing import STATES, open_state, pack
from glus_edge.training.settings import TrainingSettings


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_run_and_output(parser)


def run(arguments: argparse.Namespace) -> None:
    """Does the work. InputError: there is no such state, or it is of another model."""
    state = arguments.run / STATES[arguments.state]
    learner, place = open_state(state, TrainingSettings(), training_heads=True)
    pack(learner, place, arguments.output)
