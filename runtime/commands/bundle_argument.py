"""The argument that says which bundle a command runs: one of the user's, or the one that ships."""

import argparse
from pathlib import Path

from glus_edge.runtime.bundle.shipped import shipped_bundle


def add_bundle_argument(parser: argparse.ArgumentParser) -> None:
    """Adds --bundle."""
    parser.add_argument(
        "--bundle", type=Path, help="a folder made by `glus-edge export` (default: the small GLUS that ships)"
    )


def bundle_from_arguments(arguments: argparse.Namespace) -> Path:
    """The bundle asked for. BundleError: none was, and none ships with this installation."""
    return arguments.bundle if arguments.bundle is not None else shipped_bundle()
