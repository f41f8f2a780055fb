"""`python -m glus_edge.training ship --run RUN`."""

import argparse
from pathlib import Path

from glus_edge.export.options import LANGUAGE_WEIGHTS, PRECISIONS, VISION_WEIGHTS
from glus_edge.training.commands.arguments import add_run
from glus_edge.training.ship import ShipOptions, ship

AS_PRECISION = "as-precision"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    defaults = ShipOptions(Path())
    add_run(parser)
    parser.add_argument("--precision", choices=list(PRECISIONS), default=defaults.precision)
    parser.add_argument("--language-weights", choices=LANGUAGE_WEIGHTS, default=defaults.language_weights)
    parser.add_argument(
        "--vision-weights",
        choices=(*VISION_WEIGHTS, AS_PRECISION),
        default=defaults.vision_weights,
        help="of the other graphs (default: %(default)s)",
    )
    parser.add_argument("--output", type=Path, default=defaults.output, metavar="DIR", help="(default: the package)")
    parser.add_argument("--packed", type=Path, default=defaults.packed, metavar="DIR", help="(default: the clone's)")


def run(arguments: argparse.Namespace) -> None:
    """Does the work. Errors: those of `ship`."""
    options = ShipOptions(
        run=arguments.run,
        state=arguments.state,
        output=arguments.output,
        packed=arguments.packed,
        precision=arguments.precision,
        language_weights=arguments.language_weights,
        vision_weights=None if arguments.vision_weights == AS_PRECISION else arguments.vision_weights,
    )
    ship(options)
