"""`python -m glus_edge.training begin --run RUN --output NEW`: NEW goes through all stages, from the weights of RUN."""

import argparse

from glus_edge.training.commands.arguments import add_run_and_output
from glus_edge.training.packing import STATES, begin_run, open_state
from glus_edge.training.settings import TrainingSettings


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_run_and_output(parser)


def run(arguments: argparse.Namespace) -> None:
    """Does the work. InputError: there is no such state, or it is of another model."""
    state = arguments.run / STATES[arguments.state]
    learner, _ = open_state(state, TrainingSettings(), training_heads=True)
    begin_run(learner, arguments.output)
