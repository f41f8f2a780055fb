"""`python -m glus_edge.benchmarks.gpu --bundle B`: every graph on this NVIDIA GPU, by every backend that is here.

Parity against ONNX Runtime in float32 on the CPU, and latency from CUDA events (TensorRT) or the clock (ONNX Runtime's
CUDA provider, whose figures hold the copies to and from the host). One table, and a JSON record with --json.
What is not installed is a row that says so.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from glus_edge.benchmarks.environment import PACKAGES, environment
from glus_edge.runtime.atomic_file import write_file
from glus_edge.runtime.bundle import Bundle
from glus_edge.runtime.cuda import Cuda, open_cuda
from glus_edge.runtime.cuda_device import CudaDevice
from glus_edge.runtime.device import HostArray
from glus_edge.runtime.engine_build import PRECISIONS
from glus_edge.runtime.engine_gate import closeness, difference
from glus_edge.runtime.errors import EngineError, GlusEdgeError
from glus_edge.runtime.gate_clip import SENTENCE, GateClip
from glus_edge.runtime.onnxruntime_engine import OnnxRuntimeBackend, OnnxRuntimeOptions
from glus_edge.runtime.reference_run import Call, record
from glus_edge.runtime.schema import to_json
from glus_edge.runtime.signatures import GRAPHS, Limits
from glus_edge.runtime.tensorrt_build import BuildSettings, plan_from_onnx
from glus_edge.runtime.tensorrt_engine import TensorRtEngine
from glus_edge.runtime.tensorrt_module import LIBRARIES, TensorRt, load_tensorrt

WARM_UP = 10  # calls not counted
MEASURED = 50
_TRIED = ("tensorrt", "tensorrt_rtx", "tensorrt-rtx-cu13-bindings", "cuda-bindings", "pycuda", "torch")


@dataclass(frozen=True)
class Row:
    """One graph on one backend."""

    backend: str
    graph: str
    precision: str
    p50_ms: float | None = None
    p90_ms: float | None = None
    cosine: float | None = None  # smallest over outputs and calls, against ONNX Runtime in float32 on the CPU
    relative_l2: float | None = None  # largest
    build_s: float | None = None
    plan_mb: float | None = None
    note: str = ""  # why there is no figure, or what the figure holds


def main(arguments: list[str] | None = None) -> int:
    """The command; 0, or 2 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m glus_edge.benchmarks.gpu", description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True, help="exported, of a checkpoint or of random weights")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record there")
    parser.add_argument("--frames", type=int, default=2, help="of the clip whose inputs are recorded (default: 2)")
    parser.add_argument("--graph", action="append", choices=GRAPHS, help="only this graph; may be given several times")
    options = parser.parse_args(arguments)
    try:
        bundle = Bundle.open(options.bundle)
        calls = record(bundle, GateClip(options.frames), [SENTENCE], calls_per_graph=2).calls
        rows = []
        print(
            f"{'backend':<16}{'graph':<18}{'':<6}{'p50 ms':>9}{'p90 ms':>9}{'cosine':>10}{'rel. L2':>10}{'plan MB':>9}"
        )
        for row in measured(bundle, calls, tuple(options.graph or GRAPHS)):
            rows.append(row)
            print(described(row), flush=True)
        if options.json is not None:
            content = {"environment": environment(0, (*PACKAGES, *_TRIED)), "bundle": str(options.bundle), "rows": rows}
            write_file(options.json, (json.dumps(to_json(content), indent=1) + "\n").encode())
    except GlusEdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def measured(bundle: Bundle, calls: dict[str, list[Call]], graphs: tuple[str, ...]) -> Iterator[Row]:
    """A row for each backend and graph; a backend that is not here is one row that says why."""
    for library in LIBRARIES:
        try:
            tensorrt, cuda = load_tensorrt(library), open_cuda()
        except EngineError as error:
            yield Row(library, "", "", note=str(error))
            continue
        yield from tensorrt_rows(bundle, tensorrt, cuda, calls, graphs)
    try:
        backend = OnnxRuntimeBackend(bundle, OnnxRuntimeOptions(provider="cuda"))
        for graph in graphs:
            yield onnxruntime_row(bundle, backend, graph, calls[graph])
    except EngineError as error:
        yield Row("onnxruntime-cuda", "", "", note=str(error))


def tensorrt_rows(
    bundle: Bundle, tensorrt: TensorRt, cuda: Cuda, calls: dict[str, list[Call]], graphs: tuple[str, ...]
) -> Iterator[Row]:
    """Builds each graph, compares it, times it, and lets it go."""
    for graph in graphs:
        precision = PRECISIONS[bundle.manifest.graphs[graph].compute]
        row = Row(tensorrt.library, graph, precision)
        signature = bundle.signature(graph, Limits(sentences=1))
        try:
            plan = plan_from_onnx(tensorrt, graph, bundle.graph_path(graph), signature, BuildSettings())
            engine = TensorRtEngine(tensorrt, graph, signature, plan.data, CudaDevice(cuda))
        except EngineError as error:
            yield replace(row, note=str(error))
            continue
        found = difference(engine, calls[graph])
        times = event_times(engine, cuda, calls[graph][-1])
        engine.close()
        yield replace(
            row,
            p50_ms=statistics.median(times),
            p90_ms=statistics.quantiles(times, n=10)[-1],
            cosine=found.cosine,
            relative_l2=found.relative_l2,
            build_s=plan.build_s,
            plan_mb=plan.size_bytes / 1e6,
        )


def event_times(engine: TensorRtEngine, cuda: Cuda, call: Call) -> list[float]:
    """Milliseconds of each call on the device, inputs and outputs there already."""
    device = engine.device
    inputs = {name: device.empty(values.shape, values.dtype) for name, values in call.inputs.items()}
    outputs = {name: device.empty(values.shape, values.dtype) for name, values in call.outputs.items()}
    for name, values in call.inputs.items():
        device.write(inputs[name], values)
    start, stop = cuda.create_event(), cuda.create_event()
    times = []
    for number in range(WARM_UP + MEASURED):
        cuda.record(start, engine.stream.handle)
        engine.run(inputs, outputs)
        cuda.record(stop, engine.stream.handle)
        cuda.synchronise_event(stop)
        if number >= WARM_UP:
            times.append(cuda.elapsed_ms(start, stop))
    cuda.destroy_event(start)
    cuda.destroy_event(stop)
    return times


def onnxruntime_row(bundle: Bundle, backend: OnnxRuntimeBackend, graph: str, calls: list[Call]) -> Row:
    """The same of ONNX Runtime's CUDA provider, by the clock."""
    engine, call = backend.open(graph), calls[-1]
    outputs: dict[str, HostArray] = {name: values.copy() for name, values in call.outputs.items()}
    times = clock_times(lambda: engine.run(call.inputs, outputs))
    pairs = [closeness(outputs[name], wanted) for name, wanted in call.outputs.items() if wanted.dtype.kind == "f"]
    engine.close()
    return Row(
        "onnxruntime-cuda",
        graph,
        PRECISIONS[bundle.manifest.graphs[graph].compute],
        p50_ms=statistics.median(times),
        p90_ms=statistics.quantiles(times, n=10)[-1],
        cosine=min(cosine for cosine, _ in pairs),
        relative_l2=max(relative_l2 for _, relative_l2 in pairs),
        note="with copies to and from the host",
    )


def clock_times(run: Callable[[], None]) -> list[float]:
    """Milliseconds of each call."""
    times = []
    for number in range(WARM_UP + MEASURED):
        start = time.perf_counter()
        run()
        if number >= WARM_UP:
            times.append((time.perf_counter() - start) * 1e3)
    return times


def described(row: Row) -> str:
    """One line of the table."""
    figures = [(row.p50_ms, ".3f", 9), (row.p90_ms, ".3f", 9), (row.cosine, ".5f", 10), (row.relative_l2, ".1e", 10)]
    figures.append((row.plan_mb, ".1f", 9))
    cells = "".join(f"{'' if value is None else format(value, form):>{width}}" for value, form, width in figures)
    return f"{row.backend:<16}{row.graph:<18}{row.precision:<6}{cells}  {row.note}".rstrip()


if __name__ == "__main__":
    sys.exit(main())
