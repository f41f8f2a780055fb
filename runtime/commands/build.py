"""`glus-edge build B`: the engines of a bundle, compiled on the device they will run on, or only checked."""

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.signatures import Limits
from glus_edge.runtime.device.open_cuda import open_cuda
from glus_edge.runtime.diagnostics.device_table import board_name, device_class
from glus_edge.runtime.engine_build.accuracy_gate import GateSettings
from glus_edge.runtime.engine_build.builder import (
    ALL_GRAPHS,
    AccuracyGate,
    BuiltGraph,
    CheckedGraph,
    EngineBuild,
    build_engines,
    check_engines,
)
from glus_edge.runtime.engine_build.float32_reference import record_reference
from glus_edge.runtime.engine_build.fusion_report import report_lines
from glus_edge.runtime.engine_build.mask_check import check_masks
from glus_edge.runtime.engine_build.probe_video import SENTENCE, ProbeVideo
from glus_edge.runtime.errors import InputError, OutputError
from glus_edge.runtime.pixels.preprocess_graph import SMALLEST_SIDE
from glus_edge.runtime.tensorrt.build_progress import BuildMonitor
from glus_edge.runtime.tensorrt.library import LIBRARIES, load_tensorrt
from glus_edge.runtime.tensorrt.plan import BuildSettings
from glus_edge.runtime.utils.progress import PATIENCE_S

DEFAULT_LIMITS = Limits(sentences=4)
CHECK_TARGET = "8.9"  # what --check-only compiles for where there is no GPU


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="a folder made by `glus-edge export`")
    parser.add_argument("--backend", choices=LIBRARIES, default="tensorrt", help="(default: %(default)s)")
    parser.add_argument(
        "--check-only",
        action="store_true",
        help="compile every graph and keep nothing; tensorrt-rtx needs no GPU for it",
    )
    parser.add_argument(
        "--report",
        action="store_true",
        help="with --check-only: what the compiler fused of each graph, and how many kernels it made, from its own log",
    )
    parser.add_argument(
        "--compute-capability",
        default=CHECK_TARGET,
        metavar="X.Y",
        help="of the GPU that tensorrt-rtx compiles for with --check-only (default: %(default)s)",
    )
    parser.add_argument(
        "--graph", action="append", choices=ALL_GRAPHS, help="only this graph; may be given several times"
    )
    limits = DEFAULT_LIMITS
    for flag, value, what in (
        ("--sentences", limits.sentences, "sentences asked in one batch, at most"),
        ("--context-tokens", limits.context_tokens, "rows of the context prefix, at most"),
        ("--past-tokens", limits.past_tokens, "cached rows of a sentence, at most"),
        ("--new-tokens", limits.new_tokens, "rows prefilled in one call, at most"),
        ("--frame-side", limits.frame_side, "pixels of a frame's longer side, at most"),
    ):
        parser.add_argument(flag, type=int, default=value, metavar="N", help=f"{what} (default: %(default)s)")
    parser.add_argument(
        "--optimization-level", type=int, choices=range(6), default=3, help="how long TensorRT searches (default: 3)"
    )
    parser.add_argument(
        "--no-gate",
        dest="gate",
        action="store_false",
        help="compare the engines with nothing; only benchmarks will run them",
    )
    parser.add_argument(
        "--gate-frames", type=int, default=GateSettings.frames, metavar="N", help="of the clip compared (default: 4)"
    )
    parser.add_argument(
        "--workspace-mib", type=int, default=0, metavar="MIB", help="scratch memory of a layer; 0: all there is"
    )


def run(arguments: argparse.Namespace) -> int:
    """Checks or builds. Ctrl-C stops at the compiler's next step; no half-written engine is left."""
    if arguments.report and not arguments.check_only:
        raise InputError("--report: got it without --check-only, expected both; add --check-only")
    bundle = Bundle.open(arguments.bundle)
    graphs = tuple(arguments.graph or ALL_GRAPHS)
    target = arguments.compute_capability if arguments.check_only and arguments.backend == "tensorrt-rtx" else ""
    build = EngineBuild(
        bundle,
        load_tensorrt(arguments.backend, details=arguments.report),
        limits_from_arguments(arguments),
        BuildSettings(arguments.optimization_level, arguments.workspace_mib, target),
        BuildMonitor(_Bar().show),
    )
    try:
        if not arguments.check_only:
            return _build(arguments, build, graphs)
        for line in check_lines(build, check_engines(build, graphs)):
            print(line, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:  # graphs and engines are written next to the bundle's own
        raise OutputError(
            f"{error.filename or bundle.directory}: cannot be written ({error.strerror}), expected a bundle's folder that "
            "can be written to and has room for engines"
        ) from error
    return 0


def limits_from_arguments(arguments: argparse.Namespace) -> Limits:
    """The largest session the engines must serve. InputError: a size below 1."""
    for name in ("sentences", "context_tokens", "past_tokens", "new_tokens", "frame_side"):
        value, least = getattr(arguments, name), SMALLEST_SIDE if name == "frame_side" else 1
        if value < least:
            raise InputError(f"--{name.replace('_', '-')}: got {value}, expected {least} or more")
    return Limits(
        sentences=arguments.sentences,
        context_tokens=arguments.context_tokens,
        past_tokens=arguments.past_tokens,
        new_tokens=arguments.new_tokens,
        frame_side=arguments.frame_side,
    )


def check_lines(build: EngineBuild, checks: Iterable[CheckedGraph]) -> Iterator[str]:
    """A table, one line a graph, as each is done."""
    target = build.settings.compute_capability
    where = f"compute capability {target}" if target else "the GPU that is here"
    yield f"{build.tensorrt.library} {build.tensorrt.version}, for {where}; nothing is kept"
    yield f"{'graph':<18}{'precision':<20}{'layers':>8}{'parse s':>10}{'build s':>10}{'plan MB':>10}"
    fused: list[str] = []
    count, start = 0, time.perf_counter()
    for row in checks:
        count += 1
        fused += [] if row.fusion is None else report_lines(row.graph, row.fusion)
        yield (
            f"{row.graph:<18}{row.precision:<20}{row.layers:>8}{row.parse_s:>10.2f}{row.build_s:>10.2f}"
            f"{row.plan_bytes / 1e6:>10.1f}"
        )
    yield from fused
    yield f"{count} graphs parse and compile, {time.perf_counter() - start:.1f} s"


class _Bar:
    """The compiler's phases on stderr, on a terminal, from two seconds on."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._shown = 0.0

    def show(self, phase: str, done: int, steps: int) -> None:
        now = time.perf_counter()
        if not sys.stderr.isatty() or now - self._start < PATIENCE_S or now - self._shown < 0.1:
            return
        self._shown = now
        print(f"\r\033[K{phase[:60]}: {done} of {steps}", end="\r", file=sys.stderr, flush=True)


def _build(arguments: argparse.Namespace, build: EngineBuild, graphs: tuple[str, ...]) -> int:
    cuda = open_cuda()
    row = device_class(cuda.gpu.name, cuda.gpu.compute_capability, board_name())
    starts = f"; {row.name}: vision starts from {row.vision}, language weights {row.language}" if row else ""
    print(f"{build.tensorrt.library} {build.tensorrt.version} on {cuda.gpu.label}{starts}", flush=True)
    clip, settings = ProbeVideo(arguments.gate_frames), GateSettings()
    gate = None
    if arguments.gate:
        recording = record_reference(build.bundle, clip, [SENTENCE], settings.calls)
        gate = AccuracyGate(recording, settings)
    print("\n".join(build_lines(build_engines(build, cuda, gate, graphs))))
    if gate is not None and set(graphs) == set(ALL_GRAPHS):
        report = check_masks(build, cuda, gate, clip, [SENTENCE])
        frames = f"masks of {report.frames} of {report.clip_frames} frames"
        print(f"{frames}: IoU {report.mask_iou:.4f} with ONNX Runtime in float32")
    return 0


def build_lines(builds: Iterable[BuiltGraph]) -> Iterator[str]:
    """A line a graph, and one for each precision that was tried and not taken."""
    for built in builds:
        record, what = built.record, "up to date" if built.reused else f"built in {built.seconds:.1f} s"
        taken = next((attempt for attempt in record.gate if attempt.accepted), None)
        closeness = (
            f"cosine {taken.cosine:.5f}, relative L2 {taken.relative_l2:.1e}"
            if taken is not None and taken.cosine is not None and taken.relative_l2 is not None
            else "compared with nothing"
        )
        raised = f", {', '.join(record.raised)} in fp32" if record.raised else ""
        yield (
            f"{record.key.graph:<18}{record.precision:<6}{record.size_bytes / 1e6:>10.1f} MB  {closeness}{raised}; {what}"
        )
        if taken is not None and taken.not_captured:
            yield f"{'':<18}runs without a CUDA graph: {taken.not_captured}"
        for attempt in record.gate:
            if not attempt.accepted:
                yield f"{'':<18}not {attempt.candidate.label}: {attempt.reason}"
