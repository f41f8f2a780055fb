"""`glus-edge bench profile`: a scenario, every raw sample, and why the slowest frames were slow."""

import argparse
import math
from pathlib import Path

from glus_edge.benchmarks.instruments.record import add_record_arguments, checked_output
from glus_edge.benchmarks.latency.bench_command import sentence_counts, window_policies
from glus_edge.benchmarks.profiler.profile import profile
from glus_edge.benchmarks.profiler.profile_table import profile_table
from glus_edge.benchmarks.profiler.settings import SKIPPED_SHARE, ProfileSettings
from glus_edge.benchmarks.records.profile_record import SCENARIOS
from glus_edge.benchmarks.records.record_io import write_profile
from glus_edge.runtime.commands.arguments import (
    add_bundle_argument,
    add_engine_arguments,
    bundle_from_arguments,
    options_from_arguments,
)
from glus_edge.runtime.errors import InputError
from glus_edge.runtime.utils.atomic_file import check_file
from glus_edge.runtime.utils.progress import terminal_bar

_LONGEST_S = 86_400.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    usual = ProfileSettings
    add_bundle_argument(parser)
    parser.add_argument(
        "--scenario",
        choices=tuple(SCENARIOS),
        default=usual.scenario,
        help="; ".join(f"{name}: {text.replace('%', '%%')}" for name, text in SCENARIOS.items())
        + " (default: %(default)s)",
    )
    parser.add_argument("--video", type=Path, help="a file or folder of frames, looped (default: made up, 480 x 854)")
    parser.add_argument("--policy", default=",".join(usual.policies), metavar="P,P", help="(default: %(default)s)")
    for rule in ("refresh", "memory", "lost"):
        parser.add_argument(f"--{rule}", default=getattr(usual, rule), metavar="RULE", help="see `segment`")
    parser.add_argument("--sentences", default="1", metavar="N,N", help="asked at once (default: %(default)s)")
    parser.add_argument(
        "--frames",
        type=int,
        default=usual.frames,
        help="measured, of single, offline and server (default: %(default)s)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=usual.seconds,
        help="of live, and of each trial of streams (default: %(default)g)",
    )
    parser.add_argument(
        "--rate",
        type=float,
        help="frames a second of each live source (default: the video's own), clips a second of server (default: 0.7 "
        "times what it can do)",
    )
    parser.add_argument(
        "--deadline-ms",
        type=float,
        metavar="MS",
        help="of live sources: answers are late after it, and the language model is asked only where there is time for "
        "it, as in `stream` (default: late is later than the next frame)",
    )
    parser.add_argument(
        "--clip-frames",
        type=int,
        default=usual.clip_frames,
        help="frames of a clip, of offline and server (default: %(default)s)",
    )
    parser.add_argument(
        "--maximum-streams",
        type=int,
        default=usual.maximum_streams,
        help=f"that are tried with at most {SKIPPED_SHARE:.0%}".replace("%", "%%")
        + " of their frames skipped (default: %(default)s)",
    )
    parser.add_argument(
        "--idle-seconds",
        type=float,
        default=usual.idle_s,
        metavar="S",
        help="for which idle power is measured, where power can be read; 0: not (default: %(default)g)",
    )
    parser.add_argument("--seed", type=int, default=usual.seed, help="of random arrivals (default: %(default)s)")
    parser.add_argument("--trace", type=Path, metavar="JSON", help="a timeline to write, which Perfetto opens")
    add_engine_arguments(parser)
    add_record_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measures, prints the figures, and writes the record and the trace."""
    output = checked_output(arguments)
    settings = _settings(arguments)
    if settings.trace is not None:
        check_file(settings.trace)
    record = profile(settings, ("glus-edge", *arguments.argv), terminal_bar)
    for line in profile_table(record):
        print(line)
    if output is not None:
        write_profile(output, record)
    return 0


def _settings(arguments: argparse.Namespace) -> ProfileSettings:
    for name, least, most in (
        ("frames", 1, 10_000_000),
        ("clip_frames", 1, 100_000),
        ("maximum_streams", 1, 4096),
        ("seed", 0, 2**63),
    ):
        value = getattr(arguments, name)
        if not least <= value <= most:
            raise InputError(f"--{name.replace('_', '-')}: got {value}, expected {least} to {most}")
    for name, zero in (("seconds", False), ("rate", False), ("deadline_ms", False), ("idle_seconds", True)):
        value = getattr(arguments, name)
        if value is not None and not (math.isfinite(value) and (value > 0 or (zero and value == 0))):
            raise InputError(f"--{name.replace('_', '-')}: got {value:g}, expected a number above 0")
        if value is not None and name.endswith("seconds") and value > _LONGEST_S:
            raise InputError(f"--{name.replace('_', '-')}: got {value:g}, expected at most {_LONGEST_S:g}")
    return ProfileSettings(
        bundle=bundle_from_arguments(arguments),
        options=options_from_arguments(arguments),
        scenario=arguments.scenario,
        video=arguments.video,
        policies=window_policies(arguments.policy),
        refresh=arguments.refresh,
        memory=arguments.memory,
        lost=arguments.lost,
        sentences=sentence_counts(arguments.sentences),
        frames=arguments.frames,
        seconds=arguments.seconds,
        rate=arguments.rate,
        deadline_ms=arguments.deadline_ms,
        clip_frames=arguments.clip_frames,
        maximum_streams=arguments.maximum_streams,
        idle_s=arguments.idle_seconds,
        seed=arguments.seed,
        trace=arguments.trace,
    )
