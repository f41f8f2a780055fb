"""`python -m glus_edge.benchmarks.gpu`: every graph on this NVIDIA GPU, by every backend that is here, in one run.

The graphs are a bundle's (--bundle), or of any size with random weights, made on the spot (--size, needs the export
extra). Parity is against ONNX Runtime in float32 on the CPU; latency comes from CUDA events (TensorRT) or the clock (ONNX
Runtime's CUDA provider, whose figures hold the copies to and from the host). The share is of the graph's roofline:
arithmetic and bytes counted from the ONNX file, over what a matrix product and a copy reached in this run. Whole frames,
in the `window` policy, are timed beside the reference algorithm in torch, bfloat16, on the same GPU. What is not
installed is a row that says so, and so is what there was no time for. One table, and a JSON record with --json.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from glus_edge.benchmarks.gpu.cases import Case, bundle_cases, random_cases
from glus_edge.benchmarks.gpu.clock import Clock
from glus_edge.benchmarks.gpu.frames import TORCH, Frames
from glus_edge.benchmarks.gpu.onnxruntime import BACKEND, onnxruntime_rows, provider_missing
from glus_edge.benchmarks.gpu.random_bundle import random_bundle
from glus_edge.benchmarks.gpu.row import HEADER, GpuRow, described
from glus_edge.benchmarks.gpu.tensorrt import TensorRtBench
from glus_edge.benchmarks.instruments.environment import GPU_PACKAGES, PACKAGES, environment
from glus_edge.export.synthetic.sizes import SIZES
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.signatures import GRAPHS
from glus_edge.runtime.device.open_cuda import open_cuda
from glus_edge.runtime.errors import EngineError, GlusEdgeError, InputError
from glus_edge.runtime.tensorrt.library import LIBRARIES, load_tensorrt
from glus_edge.runtime.utils.atomic_file import check_file, write_file
from glus_edge.runtime.utils.schema import record_json, to_json

# What takes longest to compile and most of a frame comes first.
ORDER = ("language_model", "image_encoder", "memory_attention", "clip_encoder", "mask_decoder", "memory_encoder")
BASELINE_SHARE = 0.2  # of the budget, after which the baseline's frames end
TIMED_LAST_S = 45.0  # of the budget that building leaves to what is timed behind it


def main(arguments: list[str] | None = None) -> int:
    """The command; 0, or 2 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m glus_edge.benchmarks.gpu", description=__doc__)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--bundle", type=Path, help="exported, of a checkpoint or of random weights")
    source.add_argument("--size", choices=list(SIZES), default="glus-7b", help="random weights (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record there")
    parser.add_argument("--frames", type=int, default=2, help="of the clip whose inputs are recorded (default: 2)")
    parser.add_argument("--graph", action="append", choices=GRAPHS, help="only this graph; may be given several times")
    parser.add_argument("--seconds", type=float, default=300, help="what it may take in all (default: %(default)s)")
    options = parser.parse_args(arguments)
    clock = Clock(options.seconds)
    try:
        for name, value in (("--frames", options.frames), ("--seconds", options.seconds)):
            if not value > 0:
                raise InputError(f"{name}: got {value}, expected more than 0")
        if options.json is not None:
            check_file(options.json)
        with TemporaryDirectory() as folder:
            bench = GpuBench(options, Path(folder), clock)
            print(HEADER)
            rows = []
            for row in bench.rows():
                rows.append(row)
                print(described(row), flush=True)
        print(f"{clock.elapsed_s:.0f} s: " + ", ".join(f"{name} {s:.0f}" for name, s in clock.phases.items()))
        if options.json is not None:
            content = {
                "environment": environment(0, (*PACKAGES, *GPU_PACKAGES, "torch", "transformers", "sam2")),
                "model": str(options.bundle or f"{options.size}, random weights"),
                "rows": rows,
                "frames": [to_json(each) | {"frames_per_second": each.frames_per_second} for each in bench.frames],
                "seconds": clock.elapsed_s,
                "budget_s": clock.budget_s,
                "phases": clock.phases,  # seconds; graphs are made in processes of their own, beside other phases
            }
            write_file(options.json, (json.dumps(record_json(content), indent=1, allow_nan=False) + "\n").encode())
    except GlusEdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


class GpuBench:
    """One run. Rows come as they are found: the baseline, then one backend after the other."""

    def __init__(self, options: argparse.Namespace, folder: Path, clock: Clock) -> None:
        self.frames: list[Frames] = []
        self._options, self._folder, self._clock = options, folder, clock
        self._graphs = tuple(graph for graph in ORDER if graph in (options.graph or GRAPHS))
        self._cases: list[Case] = []

    def rows(self) -> Iterator[GpuRow]:
        """A row for each backend and graph; a backend that is not here is one row that says why."""
        options, clock = self._options, self._clock
        with clock.phase("bundle"):
            bundle = Bundle.open(options.bundle) if options.bundle else random_bundle(SIZES[options.size], self._folder)
        if options.bundle:
            yield GpuRow(TORCH, "", "bf16", note="no model of a bundle: see --size, or `glus-edge bench --baseline`")
        else:
            yield from self._baseline_rows(bundle)
        for library in LIBRARIES:
            try:
                tensorrt, cuda = load_tensorrt(library), open_cuda()
            except EngineError as error:
                yield GpuRow(library, "", "", note=str(error))
                continue
            with closing(TensorRtBench(tensorrt, cuda, bundle, clock, TIMED_LAST_S)) as bench:
                yield from self._tensorrt_rows(bench, bundle)
        if missing := provider_missing():
            yield GpuRow(BACKEND, "", "", note=missing)
        else:
            yield from onnxruntime_rows(self._made(bundle), clock)

    def _baseline_rows(self, bundle: Bundle) -> Iterator[GpuRow]:
        """The reference algorithm and its stages."""
        # Imported here: the processes that make graphs import this module, and need nothing of it.
        from glus_edge.benchmarks.gpu.torch import baseline_frames

        if self._graphs != ORDER:
            return
        kept_s = self._clock.budget_s * (1 - BASELINE_SHARE)
        try:
            frames = baseline_frames(SIZES[self._options.size], bundle, self._clock, kept_s)
        except EngineError as error:
            yield GpuRow(TORCH, "", "bf16", note=str(error))
            return
        self.frames.append(frames)
        yield from frames.stage_rows("bf16")
        yield frames.row()

    def _tensorrt_rows(self, bench: TensorRtBench, bundle: Bundle) -> Iterator[GpuRow]:
        for case in self._made(bundle):
            bench.build(case)
        bench.build_pixels()
        yield from bench.rows(self._cases)
        if self._graphs != ORDER:
            return
        try:
            frames = bench.frames()
        except EngineError as error:
            yield GpuRow(bench.name, "frame", "", note=str(error))
            return
        baseline = next((each for each in self.frames if each.backend == TORCH), None)
        self.frames.append(frames)
        yield frames.row(baseline)

    def _made(self, bundle: Bundle) -> Iterator[Case]:
        """The cases, made when they are first asked for, in processes beside what is done with those that are ready."""
        if self._cases:
            yield from self._cases
            return
        options = self._options
        made = (
            bundle_cases(bundle, options.frames, self._graphs)
            if options.bundle
            else random_cases(options.size, bundle, self._graphs)
        )
        while True:
            with self._clock.phase("waiting for graphs"):
                case = next(made, None)
            if case is None:
                return
            for step, seconds in case.seconds.items():
                self._clock.add(f"{case.graph}: {step}", seconds)
            self._cases.append(case)
            yield case
