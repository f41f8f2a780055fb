"""Arguments that several commands have."""

import argparse
from pathlib import Path

from glus_edge.training.packing import STATES


def add_run_and_output(parser: argparse.ArgumentParser) -> None:
    """--run, --state and --output."""
    add_run(parser)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")


def add_run(parser: argparse.ArgumentParser) -> None:
    """--run and --state: what is read."""
    parser.add_argument("--run", type=Path, required=True, metavar="RUN", help="a folder of `train`")
    parser.add_argument(
        "--state",
        choices=sorted(STATES),
        default="newest",
        help="the best had the best validation (default: %(default)s)",
    )
