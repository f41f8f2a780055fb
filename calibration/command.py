"""`glus-edge calibrate BUNDLE --videos DIR --budget '12 GB' --output B2`."""

import argparse
import sys
import time
from pathlib import Path

from glus_edge.runtime.errors import InputError


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.description = (
        "Find out what precision each part of a bundle can bear, on your own videos, and write a smaller bundle. "
        "Calibrate from a bundle exported in fp32 or fp16."
    )
    parser.add_argument("bundle", type=Path, help="a folder made by `glus-edge export`, its weights in fp32 or fp16")
    parser.add_argument(
        "--videos",
        metavar="generated|FOLDER",
        help="videos or folders of frames with their sentences in NAME.txt, one a line; a folder in MeViS's format; "
        "or the generated validation set",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="the bundle to write")
    parser.add_argument(
        "--budget",
        metavar="SIZE|LOSS",
        help="'12 GB', what the bundle may take on disk, or '0.5 J&F', what the masks may lose; everything goes to its "
        "lowest precision without one",
    )
    parser.add_argument(
        "--recipe", type=Path, metavar="JSON", help="measure nothing: write what this recipe says, edited perhaps"
    )
    parser.add_argument("--count", type=int, default=8, metavar="N", help="videos (default: %(default)s)")
    parser.add_argument(
        "--frames", type=int, default=8, metavar="N", help="of a video, to compare masks on (default: 8)"
    )
    parser.add_argument("--sentences", type=int, default=2, metavar="N", help="of a video, likewise (default: 2)")
    parser.add_argument(
        "--images", type=int, default=16, metavar="N", help="the encoders are observed on (default: 16)"
    )
    parser.add_argument(
        "--prompts", type=int, default=8, metavar="N", help="the language model is observed on (default: 8)"
    )
    parser.add_argument(
        "--rank",
        default="masks",
        metavar="masks|tensors",
        help="what a block's harm is: points its masks lose, or the error of what it computes; 'tensors' never runs the "
        "whole bundle, which at full size needs more memory than a small machine has (default: %(default)s)",
    )
    parser.add_argument(
        "--ranges",
        default="auto",
        metavar="auto|max|percentile|mse",
        help="how far an encoder's activations reach; auto: what loses least, matrix by matrix (default: %(default)s)",
    )
    parser.add_argument(
        "--encoders",
        default="int8",
        metavar="int8|fp8|none",
        help="what CLIP and the image encoder may be lowered to (default: %(default)s)",
    )
    parser.add_argument(
        "--embedding",
        default="source",
        metavar="source|fp16|int8",
        help="the embedding table; int8: each row with a scale of its own (default: %(default)s)",
    )
    parser.add_argument("--no-awq", action="store_true", help="round int4 weights to nearest, with no scales folded in")
    parser.add_argument(
        "--smoothquant",
        action="store_true",
        help="behind every norm of the encoders where it helps, move magnitude from activations to weights",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a bundle that is there")


def run(arguments: argparse.Namespace) -> int:
    """Calibrates; 0, or a GlusEdgeError for the command line to print."""
    if (arguments.videos is None) == (arguments.recipe is None):
        raise InputError("calibrate: got neither or both of --videos and --recipe, expected exactly one")
    if arguments.recipe is not None and arguments.budget is not None:
        raise InputError("--budget: got one beside --recipe, which says what is lowered; give one of the two")
    # Behind the arguments: torch takes seconds to import, and a wrong argument is answered at once.
    from glus_edge.calibration.bundle_files import size_bytes
    from glus_edge.calibration.calibrate import apply, calibrate
    from glus_edge.calibration.settings import CalibrationSettings

    started = time.monotonic()

    def report(text: str) -> None:
        print(f"[{time.monotonic() - started:5.0f} s] {text}", file=sys.stderr, flush=True)

    if arguments.recipe is not None:
        manifest = apply(arguments.bundle, arguments.recipe, arguments.output, arguments.overwrite, report)
    else:
        settings = CalibrationSettings(
            bundle=arguments.bundle,
            videos=arguments.videos,
            output=arguments.output,
            budget=arguments.budget,
            count=arguments.count,
            frames=arguments.frames,
            sentences=arguments.sentences,
            images=arguments.images,
            prompts=arguments.prompts,
            rank=arguments.rank,
            ranges=arguments.ranges,
            encoders=arguments.encoders,
            embedding=arguments.embedding,
            smooth=arguments.smoothquant,
            awq=not arguments.no_awq,
            overwrite=arguments.overwrite,
        )
        manifest = calibrate(settings, report)
    for name, graph in manifest.graphs.items():
        print(f"{name:17s} {graph.compute}, weights {graph.weights}")
    for name, value in manifest.provenance.items():
        if name.startswith("calibration_") and name.endswith("_lost"):
            print(f"{name.removeprefix('calibration_').replace('_', ' '):17s} {float(value):.3f} points")
    print(
        f"{arguments.output}: {size_bytes(manifest) / 1e6:.1f} MB in {time.monotonic() - started:.0f} s; see recipe.json"
    )
    return 0
