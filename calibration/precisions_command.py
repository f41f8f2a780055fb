"""`glus-edge bench precisions --bundle FP32 --output DIR`: what each precision costs in J&F and saves in bytes."""

import argparse
import sys
from pathlib import Path

from glus_edge.benchmarks.datasets.generated_dataset import GENERATED
from glus_edge.runtime.policies.window import WINDOW_POLICIES


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.description = (
        "Write one bundle in several precisions and score each on the same videos. What has been written and scored is "
        "kept in DIR, so that a run that was stopped goes on."
    )
    parser.add_argument("--bundle", type=Path, required=True, help="in fp32: the others are made from it")
    parser.add_argument(
        "--fp16", type=Path, metavar="BUNDLE", help="the same checkpoint exported with --precision fp16"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="bundles, scores and precisions.json")
    parser.add_argument(
        "--dataset", default=GENERATED, metavar="generated|FOLDER", help="scored on (default: %(default)s)"
    )
    parser.add_argument("--videos", type=int, metavar="N", help="of --dataset, from the first (default: all)")
    parser.add_argument(
        "--calibration-videos",
        default=GENERATED,
        metavar="generated|FOLDER",
        help="calibrated on, as `glus-edge calibrate --videos` (default: %(default)s)",
    )
    parser.add_argument(
        "--count", type=int, default=16, metavar="N", help="of --calibration-videos, from the first (default: 16)"
    )
    parser.add_argument(
        "--policy", choices=WINDOW_POLICIES, default="exact", help="query window (default: %(default)s)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Prints the table; 0, or a GlusEdgeError for the command line to print."""
    # Behind the arguments: torch takes seconds to import, and a wrong argument is answered at once.
    from glus_edge.calibration.precisions import PrecisionSettings, compare_precisions

    settings = PrecisionSettings(
        bundle=arguments.bundle,
        output=arguments.output,
        fp16_bundle=arguments.fp16,
        dataset=arguments.dataset,
        videos=arguments.videos,
        calibration_videos=arguments.calibration_videos,
        calibration_count=arguments.count,
        policy=arguments.policy,
    )
    rows = compare_precisions(settings, lambda text: print(text, file=sys.stderr, flush=True))
    print("| weights | bundle MB | J&F | difference [95%] |\n|---|---|---|---|")
    for row in rows:
        d = row.difference
        interval = "" if d is None else f"{d.mean:+.2f} [{d.low:+.2f}, {d.high:+.2f}]"
        print(f"| {row.name} | {row.size_bytes / 1e6:.1f} | {row.j_and_f:.2f} | {interval} |")
    return 0
