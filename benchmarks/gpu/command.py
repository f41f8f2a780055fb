"""`glus-edge bench gpu`: every graph on this NVIDIA GPU, by every backend that is here, in one run."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from glus_edge.benchmarks.gpu.cases import Case, FailedCase, bundle_cases, random_cases
from glus_edge.benchmarks.gpu.clock import Clock
from glus_edge.benchmarks.gpu.frames import Frames
from glus_edge.benchmarks.gpu.onnxruntime_rows import onnxruntime_rows, provider_missing
from glus_edge.benchmarks.gpu.pack import WHEELS, PackSettings, write_pack
from glus_edge.benchmarks.gpu.random_bundle import random_bundle
from glus_edge.benchmarks.gpu.row import HEADER, GpuRow, failure_note, table_line
from glus_edge.benchmarks.gpu.settings import BACKENDS, ONNXRUNTIME, ORDER, TORCH, WEIGHTS, GpuBenchSettings
from glus_edge.benchmarks.gpu.tensorrt_rows import TensorRtBench
from glus_edge.benchmarks.instruments.environment import GPU_PACKAGES, PACKAGES, environment
from glus_edge.benchmarks.instruments.record import RecordFile, add_record_arguments
from glus_edge.export.synthetic.sizes import SIZES
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.signatures import GRAPHS
from glus_edge.runtime.device.open_cuda import open_cuda
from glus_edge.runtime.tensorrt.library import LIBRARIES, load_tensorrt
from glus_edge.runtime.utils.schema import to_json

BASELINE_SHARE = 0.2  # of the budget, after which the baseline's frames end
TIMED_LAST_S = 45.0  # of the budget that building leaves to what is timed behind it
_ABOUT = """\
The graphs are a bundle's (--bundle), or of any size with random weights, made on the spot (--size, needs the export
extra). Parity is against ONNX Runtime in float32 on the CPU. Latency comes from CUDA events (TensorRT) or from the clock
(ONNX Runtime's CUDA provider, whose figures hold the copies to and from the host). The share is of the graph's roofline:
arithmetic and bytes counted from the ONNX file, over what a matrix product and a copy reached in this run. Whole frames,
in the `window` policy, are timed beside the reference algorithm in torch, bfloat16, on the same GPU. What fails, is not
installed or was left without time is a row that says why; the run goes on.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    usual = GpuBenchSettings()
    parser.description = f"{parser.description} {_ABOUT}"
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--bundle", type=Path, help="exported, of a checkpoint or of random weights")
    source.add_argument("--size", choices=list(SIZES), default=usual.size, help="random weights (default: %(default)s)")
    parser.add_argument(
        "--weights",
        choices=WEIGHTS,
        default=usual.weights,
        help="of the language model, where weights are random (default: %(default)s)",
    )
    parser.add_argument(
        "--frames", type=int, default=usual.frames, help="of the video that a bundle's inputs come from (default: 2)"
    )
    parser.add_argument("--graph", action="append", choices=GRAPHS, help="only this graph; may be given several times")
    parser.add_argument(
        "--backend",
        action="append",
        choices=BACKENDS,
        help=f"only this backend; may be given several times. {TORCH} is the reference algorithm and needs sam2",
    )
    parser.add_argument(
        "--seconds", type=float, default=usual.seconds, help="what it may take in all (default: %(default)s)"
    )
    pack = parser.add_argument_group("for a GPU machine without network")
    pack.add_argument("--pack", type=Path, metavar="DIR", help="measure nothing: write what such a machine needs")
    pack.add_argument(
        "--part-mib", type=int, default=PackSettings.part_mib, metavar="MIB", help="of a part (default: %(default)s)"
    )
    pack.add_argument("--python", default=PackSettings.python, help="of that machine (default: %(default)s)")
    pack.add_argument("--platform", default=PackSettings.platform, help="of that machine (default: %(default)s)")
    wheels = pack.add_mutually_exclusive_group()
    wheels.add_argument(
        "--wheel",
        action="append",
        metavar="REQUIREMENT",
        help=f"to pack, without what it needs; may be given several times (default: {', '.join(WHEELS)})",
    )
    wheels.add_argument("--no-wheels", action="store_true", help="pack sources only")
    add_record_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measures, prints a row at a time and writes the record; or packs."""
    if arguments.pack is not None:
        return _pack(arguments)
    settings = GpuBenchSettings(
        bundle=arguments.bundle,
        size=arguments.size,
        weights=arguments.weights,
        frames=arguments.frames,
        graphs=tuple(graph for graph in ORDER if graph in (arguments.graph or ORDER)),
        backends=tuple(backend for backend in BACKENDS if backend in (arguments.backend or BACKENDS)),
        seconds=arguments.seconds,
    )
    record, clock = RecordFile("gpu", arguments), Clock(settings.seconds)
    rows = []
    with TemporaryDirectory() as folder:
        bench = GpuBench(settings, Path(folder), clock)
        print(HEADER)
        for row in bench.rows():
            rows.append(row)
            print(table_line(row), flush=True)
    print(f"{clock.elapsed_s:.0f} s: " + ", ".join(f"{name} {s:.0f}" for name, s in clock.phases.items()))
    record.write(
        environment(0, (*PACKAGES, *GPU_PACKAGES, "torch", "transformers", "sam2")),
        settings,
        rows,
        model=settings.model,
        frames=[to_json(each) | {"frames_per_second": each.frames_per_second} for each in bench.frames],
        seconds=clock.elapsed_s,
        budget_s=clock.budget_s,
        phases=clock.phases,  # seconds; graphs are made in processes of their own, beside other phases
    )
    return 0


def _pack(arguments: argparse.Namespace) -> int:
    wheels = () if arguments.no_wheels else tuple(arguments.wheel or WHEELS)
    settings = PackSettings(arguments.pack, arguments.part_mib, arguments.python, arguments.platform, wheels)
    files = write_pack(settings)
    for file in files:
        print(f"{file}: {file.stat().st_size / 1e6:.1f} MB")
    print(f"carry these {len(files)} files to the machine and run {files[-1].name} there; it writes record.json")
    return 0


class GpuBench:
    """One run. Rows come as they are measured: the baseline, then one backend after the other."""

    def __init__(self, settings: GpuBenchSettings, folder: Path, clock: Clock) -> None:
        self.frames: list[Frames] = []
        self._settings, self._folder, self._clock = settings, folder, clock
        self._making: Iterator[Case | FailedCase] | None = None
        self._made: list[Case | FailedCase] = []

    def rows(self) -> Iterator[GpuRow]:
        """A row for each backend and graph; a backend that is not here or fails is one row that says why."""
        settings = self._settings
        with self._clock.phase("bundle"):
            bundle = (
                Bundle.open(settings.bundle)
                if settings.bundle
                else random_bundle(SIZES[settings.size], self._folder, settings.weights)
            )
        runs: dict[str, Callable[[Bundle], Iterator[GpuRow]]] = {
            TORCH: self._torch_rows,
            **{library: partial(self._tensorrt_rows, library) for library in LIBRARIES},
            ONNXRUNTIME: self._onnxruntime_rows,
        }
        for backend in settings.backends:
            try:
                yield from runs[backend](bundle)
            except Exception as error:  # noqa: BLE001 - whatever one backend comes to, the others' rows are wanted
                yield GpuRow(backend, "", "", note=failure_note(error))

    def _torch_rows(self, bundle: Bundle) -> Iterator[GpuRow]:
        """The reference algorithm and its stages."""
        if self._settings.bundle:
            yield GpuRow(TORCH, "", "bf16", note="no model of a bundle: see --size, or `glus-edge bench --baseline`")
            return
        if not self._settings.whole:
            return
        # Imported here: it needs sam2, and the processes that make graphs import this module.
        from glus_edge.benchmarks.gpu.torch_rows import baseline_frames

        kept_s = self._clock.budget_s * (1 - BASELINE_SHARE)
        frames = baseline_frames(SIZES[self._settings.size], bundle, self._clock, kept_s)
        self.frames.append(frames)
        yield from frames.stage_rows("bf16")
        yield frames.row()

    def _tensorrt_rows(self, library: str, bundle: Bundle) -> Iterator[GpuRow]:
        tensorrt, cuda = load_tensorrt(library), open_cuda()
        with closing(TensorRtBench(tensorrt, cuda, bundle, self._clock, TIMED_LAST_S)) as bench:
            cases = []
            for case in self._cases(bundle):
                if isinstance(case, FailedCase):
                    yield case.row(library)
                    continue
                bench.build(case)
                cases.append(case)
            bench.build_pixels()
            yield from bench.rows(cases)
            if not self._settings.whole:
                return
            try:
                frames = bench.frames()
            except Exception as error:  # noqa: BLE001 - the other libraries' rows are wanted all the same
                yield GpuRow(bench.name, "frame", "", note=failure_note(error))
                return
        baseline = next((each for each in self.frames if each.backend == TORCH), None)
        self.frames.append(frames)
        yield frames.row(baseline)

    def _onnxruntime_rows(self, bundle: Bundle) -> Iterator[GpuRow]:
        if missing := provider_missing():
            yield GpuRow(ONNXRUNTIME, "", "", note=missing)
            return
        for case in self._cases(bundle):
            if isinstance(case, FailedCase):
                yield case.row(ONNXRUNTIME)
            else:
                yield from onnxruntime_rows([case], self._clock)

    def _cases(self, bundle: Bundle) -> Iterator[Case | FailedCase]:
        """The cases, made when they are first asked for, in processes beside what is done with those that are ready."""
        yield from tuple(self._made)
        settings = self._settings
        if self._making is None:
            self._making = (
                bundle_cases(bundle, settings.frames, settings.graphs)
                if settings.bundle
                else random_cases(settings.size, bundle, settings.graphs)
            )
        while True:
            with self._clock.phase("waiting for graphs"):
                case = next(self._making, None)
            if case is None:
                return
            if isinstance(case, Case):
                for step, seconds in case.seconds.items():
                    self._clock.add(f"{case.graph}: {step}", seconds)
            self._made.append(case)
            yield case
