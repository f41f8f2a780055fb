"""`python -m glus_edge.training train --output RUN`."""

import argparse
from pathlib import Path

from glus_edge.training.ablation import ABLATIONS, WHOLE
from glus_edge.training.settings import STAGES, TrainingSettings, stages_from_text
from glus_edge.training.train import train


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    defaults = TrainingSettings()
    stages = ",".join(f"{stage.name}:{stage.steps}" for stage in STAGES)
    parser.add_argument(
        "--output", type=Path, required=True, metavar="RUN", help="a folder; one with a run in it goes on"
    )
    parser.add_argument("--seed", type=int, default=defaults.seed, help="(default: %(default)s)")
    parser.add_argument(
        "--processes", type=int, default=defaults.processes, help="of one thread each (default: %(default)s)"
    )
    parser.add_argument(
        "--ablation", choices=list(ABLATIONS), default=WHOLE, help="a row of the ablation table (default: the whole)"
    )
    parser.add_argument("--stages", metavar="NAME[:STEPS],...", help=f"(default: {stages})")


def run(arguments: argparse.Namespace) -> None:
    """Trains. InputError: the settings, or the folder, which holds another run."""
    stages = STAGES if arguments.stages is None else stages_from_text(arguments.stages)
    settings = TrainingSettings(stages, arguments.seed, arguments.processes, ablation=arguments.ablation)
    train(arguments.output, settings)
