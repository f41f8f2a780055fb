"""`python -m glus_edge.training unpack --packed DIR --run RUN`: a run that `train` goes on with."""

import argparse
from pathlib import Path

from glus_edge.training.learner import build_learner
from glus_edge.training.packing import begin_run, unpack
from glus_edge.training.settings import TrainingSettings


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.add_argument("--packed", type=Path, required=True, metavar="DIR", help="written by `pack`")
    parser.add_argument("--run", type=Path, required=True, metavar="RUN", help="a folder without a run in it")


def run(arguments: argparse.Namespace) -> None:
    """Does the work. InputError: the weights are of another model, or the folder has a run."""
    learner = build_learner(TrainingSettings())
    begin_run(learner, arguments.run, unpack(arguments.packed, learner))
