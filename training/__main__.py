"""`python -m glus_edge.training COMMAND ...`: trains the small GLUS that ships, and handles what a run leaves."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from glus_edge.runtime.errors import GlusEdgeError

# Each is a file in `commands/`; only the chosen one is imported, so that help is instant.
COMMANDS = {
    "train": "train in stages, or go on with a run that was stopped",
    "official": "write a run's weights in the official format, for `glus-edge export`",
    "pack": "write a run's weights to a few small half-precision files",
    "unpack": "make a run from packed weights",
    "begin": "make a run that begins with the weights of another",
    "ship": "replace the bundle and the demo video of the package by a run's",
    "mevis": "write a generated set of videos in MeViS's folder format",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0, or 2 for a user's error (one line on stderr)."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="python -m glus_edge.training", description="Train the small GLUS that ships."
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    module = None
    for name, text in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=text, description=f"{name}: {text}.")
        if argv[:1] == [name]:
            module = importlib.import_module(f"glus_edge.training.commands.{name}")
            module.configure(subparser)
    arguments = parser.parse_args(argv)
    assert module is not None, "argparse lets nothing but a known command through"
    try:
        module.run(arguments)
    except GlusEdgeError as error:
        print(f"{arguments.command}: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
