"""`python -m glus_edge.training mevis --set heldout --output DIR`."""

import argparse
from pathlib import Path

from glus_edge.training.data.mevis import write_set
from glus_edge.training.data.video import SETS


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.add_argument("--set", choices=sorted(SETS), default="heldout", help="(default: %(default)s)")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="an empty or a new folder")


def run(arguments: argparse.Namespace) -> None:
    """Does the work. OutputError: the folder is in the way, or cannot be written."""
    write_set(arguments.output, SETS[arguments.set])
