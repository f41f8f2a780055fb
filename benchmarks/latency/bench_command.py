"""`glus-edge bench latency`: where the milliseconds go, how far that is from the machine's limit and the reference."""

import argparse
from pathlib import Path

from glus_edge.benchmarks.instruments.contender import BLOCK_FRAMES
from glus_edge.benchmarks.instruments.device_peak import measure_device_peak
from glus_edge.benchmarks.instruments.environment import GPU_PACKAGES, PACKAGES, environment
from glus_edge.benchmarks.instruments.peak import MachinePeak, measure_peak
from glus_edge.benchmarks.instruments.record import RecordFile, add_record_arguments
from glus_edge.benchmarks.latency.bench_report import figures
from glus_edge.benchmarks.latency.bench_table import table
from glus_edge.benchmarks.latency.measurement import BenchSettings, measure
from glus_edge.benchmarks.latency.soak import ALLOWED_GROWTH, SETTLED_FRAMES, soak
from glus_edge.benchmarks.reference.baseline import add_baseline_arguments, baseline_from_arguments
from glus_edge.runtime.backends.onnxruntime_cuda import ONNXRUNTIME_CUDA
from glus_edge.runtime.bundle.bundle import Bundle, read_manifest
from glus_edge.runtime.bundle.manifest import Manifest
from glus_edge.runtime.commands.arguments import (
    add_bundle_argument,
    add_engine_arguments,
    bundle_from_arguments,
    options_from_arguments,
)
from glus_edge.runtime.device.open_cuda import open_cuda
from glus_edge.runtime.errors import InputError
from glus_edge.runtime.policies.window import WINDOW_POLICIES
from glus_edge.runtime.tensorrt.library import LIBRARIES, load_tensorrt
from glus_edge.runtime.utils.progress import terminal_bar
from glus_edge.runtime.utils.schema import to_json

MAXIMUM_SENTENCES = 64


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    add_bundle_argument(parser)
    parser.add_argument("--video", type=Path, help="a file or folder of frames, looped (default: made up, 480 x 854)")
    parser.add_argument("--policy", default=",".join(WINDOW_POLICIES), metavar="P,P", help="(default: %(default)s)")
    for rule in ("refresh", "memory", "lost"):
        usual = getattr(BenchSettings, rule)
        parser.add_argument(f"--{rule}", default=usual, metavar="RULE", help="of every policy; see `segment`")
    parser.add_argument("--sentences", default="1,8", metavar="N,N", help="asked at once (default: %(default)s)")
    parser.add_argument(
        "--frames",
        type=int,
        default=BenchSettings.rounds * BLOCK_FRAMES,
        help=f"measured of each, in turns of {BLOCK_FRAMES} (default: %(default)s)",
    )
    add_baseline_arguments(parser, "in the same run")
    parser.add_argument("--soak", type=int, metavar="N", help="instead: does memory grow over N frames?")
    add_engine_arguments(parser)
    add_record_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measures, prints a table and writes the record; with --soak 1 where memory grows."""
    settings, record_file = _settings(arguments), RecordFile("latency", arguments)
    manifest = read_manifest(settings.bundle)
    facts = {
        "bundle": manifest.name,
        "precision": {name: f"{graph.compute}, weights {graph.weights}" for name, graph in manifest.graphs.items()},
        "backend": arguments.backend,
        "openvino_precision": arguments.openvino_precision,
        "video": settings.video.name if settings.video else "made up",
    }
    if arguments.soak is not None:
        result = soak(settings, arguments.soak, terminal_bar)
        settled = result.resident[0][1]
        print(
            f"{result.policy}, {result.sentences} sentence(s): {result.frames} frames, {settled / 1e6:.1f} MB resident "
            f"after {SETTLED_FRAMES}, {result.growth:+.2%} at most after that (allowed: {ALLOWED_GROWTH:.0%})"
        )
        record_file.write(
            environment(arguments.threads), settings, [to_json(result) | {"growth": result.growth}], **facts
        )
        return int(result.growth >= ALLOWED_GROWTH)
    where = environment(arguments.threads, (*PACKAGES, *GPU_PACKAGES, "torch", "transformers", "sam2"))
    measured, memory = measure(settings, terminal_bar)
    # Behind the run: both need memory that is none of the runtime's.
    peak = _peak(arguments.backend, manifest)
    results = figures(measured, Bundle(settings.bundle, manifest), peak)
    for line in table(results, memory, peak, where):
        print(line)
    record_file.write(where, settings, results, **facts, peak=peak, memory=memory)
    return 0


def _settings(arguments: argparse.Namespace) -> BenchSettings:
    if not 0 < arguments.frames <= 1_000_000:
        raise InputError(f"--frames: got {arguments.frames}, expected 1 to 1000000")
    return BenchSettings(
        bundle=bundle_from_arguments(arguments),
        options=options_from_arguments(arguments),
        video=arguments.video,
        policies=window_policies(arguments.policy),
        refresh=arguments.refresh,
        memory=arguments.memory,
        lost=arguments.lost,
        sentences=sentence_counts(arguments.sentences),
        rounds=-(-arguments.frames // BLOCK_FRAMES),
        baseline=baseline_from_arguments(arguments),
    )


def _peak(backend: str, manifest: Manifest) -> MachinePeak | None:
    """Of what the engines ran on; None where it cannot be timed."""
    if backend in LIBRARIES:
        half = any(graph.compute == "float16" for graph in manifest.graphs.values())
        return measure_device_peak(load_tensorrt(backend), open_cuda(), "float16" if half else "float32")
    return measure_peak() if backend != ONNXRUNTIME_CUDA else None


def window_policies(text: str) -> tuple[str, ...]:
    """Of the argument --policy. InputError: one is unknown."""
    policies = tuple(dict.fromkeys(text.split(",")))
    for policy in policies:
        if policy not in WINDOW_POLICIES:
            raise InputError(f"--policy: got {policy!r}, expected some of {','.join(WINDOW_POLICIES)}")
    return policies


def sentence_counts(text: str) -> tuple[int, ...]:
    """Of the argument --sentences. InputError: one is no number within bounds."""
    counts = tuple(dict.fromkeys(int(word) if word.isascii() and word.isdigit() else 0 for word in text.split(",")))
    if not all(0 < count <= MAXIMUM_SENTENCES for count in counts):
        raise InputError(f"--sentences: got {text!r}, expected numbers from 1 to {MAXIMUM_SENTENCES} such as 1,8")
    return counts
