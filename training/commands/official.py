"""`python -m glus_edge.training official --run RUN --output DIR`: DIR/checkpoint, DIR/clip and DIR/sam2.yaml."""

import argparse

from glus_edge.training.commands.arguments import add_run_and_output
from glus_edge.training.packing import STATES, open_state, write_official
from glus_edge.training.settings import TrainingSettings


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_run_and_output(parser)


def run(arguments: argparse.Namespace) -> None:
    """Does the work. InputError: there is no such state, or it is of another model."""
    state = arguments.run / STATES[arguments.state]
    learner, _ = open_state(state, TrainingSettings(), training_heads=False)
    write_official(learner, arguments.output)
