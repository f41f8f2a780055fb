"""`glus-edge bench precisions`: what each precision costs in J&F and saves in bytes, on the same videos."""

import argparse
from pathlib import Path

from glus_edge.benchmarks.datasets.generated_dataset import GENERATED
from glus_edge.calibration import precisions
from glus_edge.runtime.policies.window import POLICIES


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("--bundle", type=Path, required=True, help="in fp32: what the others are made from")
    parser.add_argument("--fp16", type=Path, metavar="BUNDLE", help="the same checkpoint, exported in fp16")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="variants, scores and the table")
    parser.add_argument("--dataset", default=GENERATED, metavar="generated|FOLDER", help="what is scored")
    parser.add_argument("--videos", type=int, metavar="N", help="the first N videos only")
    parser.add_argument("--clips", default=GENERATED, metavar="generated|FOLDER", help="what is calibrated on")
    parser.add_argument("--count", type=int, default=16, metavar="N", help="clips to calibrate on")
    parser.add_argument("--policy", choices=POLICIES, default="exact", help="query window (default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Makes and scores every variant, and prints the table."""
    print("| weights | bundle MB | J&F | difference [95%] |\n|---|---|---|---|")
    for row in precisions.run(arguments):
        d = row.difference
        told = "" if d is None else f"{d.mean:+.2f} [{d.low:+.2f}, {d.high:+.2f}]"
        print(f"| {row.name} | {row.size_bytes / 1e6:.1f} | {row.j_and_f:.2f} | {told} |")
    return 0
