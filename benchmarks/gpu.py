"""`python -m glus_edge.benchmarks.gpu`: every graph on this NVIDIA GPU, by every backend that is here, in one run.

The graphs are a bundle's (--bundle), or of any size with random weights, made on the spot (--size, needs the export
extra). Parity is against ONNX Runtime in float32 on the CPU; latency comes from CUDA events (TensorRT, torch) or the
clock (ONNX Runtime's CUDA provider, whose figures hold the copies to and from the host). The share is of the graph's
roofline: arithmetic and bytes counted from the ONNX file, over what a matrix product and a copy reached in this run.
What is not installed is a row that says so. One table, and a JSON record with --json.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from glus_edge.benchmarks.device_peak import event_ms, measure_device_peak
from glus_edge.benchmarks.environment import GPU_PACKAGES, PACKAGES, environment
from glus_edge.benchmarks.gpu_cases import Case, bundle_cases, random_cases
from glus_edge.benchmarks.gpu_onnxruntime import onnxruntime_rows
from glus_edge.benchmarks.gpu_row import HEADER, MEASURED, WARM_UP, Row, described, frame_row, row_of_times
from glus_edge.benchmarks.gpu_torch import cuda_missing, language_times, module_times
from glus_edge.benchmarks.graph_work import GraphWork
from glus_edge.benchmarks.peak import Peak
from glus_edge.export.language_config import LanguageConfig
from glus_edge.export.synthetic_sizes import SIZES
from glus_edge.runtime.atomic_file import write_file
from glus_edge.runtime.bundle import Bundle
from glus_edge.runtime.cuda import Cuda, open_cuda
from glus_edge.runtime.cuda_device import CudaDevice
from glus_edge.runtime.engine_gate import difference
from glus_edge.runtime.errors import EngineError, GlusEdgeError
from glus_edge.runtime.schema import to_json
from glus_edge.runtime.signatures import GRAPHS
from glus_edge.runtime.tensorrt_build import BuildSettings, plan_from_onnx
from glus_edge.runtime.tensorrt_engine import TensorRtEngine
from glus_edge.runtime.tensorrt_module import LIBRARIES, TensorRt, load_tensorrt


def main(arguments: list[str] | None = None) -> int:
    """The command; 0, or 2 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m glus_edge.benchmarks.gpu", description=__doc__)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--bundle", type=Path, help="exported, of a checkpoint or of random weights")
    source.add_argument("--size", choices=list(SIZES), default="glus-7b", help="random weights (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record there")
    parser.add_argument("--frames", type=int, default=2, help="of the clip whose inputs are recorded (default: 2)")
    parser.add_argument("--graph", action="append", choices=GRAPHS, help="only this graph; may be given several times")
    options = parser.parse_args(arguments)
    graphs, size = tuple(options.graph or GRAPHS), SIZES[options.size]
    try:
        with TemporaryDirectory() as folder:
            if options.bundle is not None:
                cases = bundle_cases(Bundle.open(options.bundle), options.frames, graphs)
            else:
                cases = random_cases(size, Path(folder), graphs)
            print(HEADER)
            rows = []
            for row in measured(cases, size.language if options.bundle is None else None):
                rows.append(row)
                print(described(row), flush=True)
        if options.json is not None:
            content = {
                "environment": environment(0, (*PACKAGES, *GPU_PACKAGES, "torch")),
                "model": str(options.bundle or f"{options.size}, random weights"),
                "rows": rows,
            }
            write_file(options.json, (json.dumps(to_json(content), indent=1) + "\n").encode())
    except GlusEdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def measured(cases: Sequence[Case], language: LanguageConfig | None) -> Iterator[Row]:
    """A row for each backend and graph; a backend that is not here is one row that says why."""
    baseline = list(torch_rows(cases, language))
    yield from baseline
    for library in LIBRARIES:
        try:
            tensorrt, cuda = load_tensorrt(library), open_cuda()
        except EngineError as error:
            yield Row(library, "", "", note=str(error))
            continue
        rows = []
        for row in tensorrt_rows(tensorrt, cuda, cases):
            rows.append(row)
            yield row
        yield from frame_row(rows, baseline)
    yield from onnxruntime_rows(cases)


def tensorrt_rows(tensorrt: TensorRt, cuda: Cuda, cases: Sequence[Case]) -> Iterator[Row]:
    """What the device can do, then each graph: built, compared, timed, and let go."""
    peaks: dict[str, Peak] = {}
    for case in cases:
        half = case.precision.startswith("fp16")
        dtype = "float16" if half else "float32"
        row = Row(tensorrt.library, case.graph, case.precision)
        try:
            if dtype not in peaks:
                peaks[dtype] = measure_device_peak(tensorrt, cuda, dtype)
                peak = peaks[dtype]
                speeds = f"{peak.flops_per_second / 1e12:.1f} TFLOP/s, {peak.bytes_per_second / 1e9:.0f} GB/s"
                yield Row(tensorrt.library, "peak", "fp16" if half else "fp32", note=f"product and copy: {speeds}")
            plan = plan_from_onnx(tensorrt, case.graph, case.path, case.signature, BuildSettings())
            engine = TensorRtEngine(tensorrt, case.graph, case.signature, plan.data, CudaDevice(cuda))
            found = difference(engine, case.calls)
            times = event_times(engine, cuda, case)
            failure = engine.graphs.failure
            engine.close()
        except EngineError as error:
            yield Row(row.backend, row.graph, row.precision, note=str(error))
            continue
        floor = floor_ms(case, peaks[dtype])
        yield row_of_times(
            row,
            times,
            cosine=found.cosine,
            relative_l2=found.relative_l2,
            share=floor / sorted(times)[len(times) // 2],
            build_s=plan.build_s,
            plan_mb=plan.size_bytes / 1e6,
            note=f"not replayed: {failure}" if failure else "",
        )


def event_times(engine: TensorRtEngine, cuda: Cuda, case: Case) -> list[float]:
    """Milliseconds of each call on the device, inputs and outputs there already."""
    device, call = engine.device, case.calls[-1]
    inputs = {name: device.empty(values.shape, values.dtype) for name, values in call.inputs.items()}
    outputs = {name: device.empty(values.shape, values.dtype) for name, values in call.outputs.items()}
    for name, values in call.inputs.items():
        device.write(inputs[name], values)
    return event_ms(cuda, engine.stream, lambda: engine.run(inputs, outputs), WARM_UP, MEASURED)


def floor_ms(case: Case, peak: Peak) -> float:
    """The least a call can take: the longer of its arithmetic and of moving its weights, inputs and outputs once."""
    call = case.calls[-1]
    sizes = {
        axis: size
        for tensor in case.signature.inputs
        for axis, size in zip(tensor.shape, call.inputs[tensor.name].shape, strict=True)
        if isinstance(axis, str)
    }
    work = GraphWork(case.path).work(sizes)
    tensors = sum(values.nbytes for values in (*call.inputs.values(), *call.outputs.values()))
    return 1e3 * max(work.flops / peak.flops_per_second, (work.weight_bytes + tensors) / peak.bytes_per_second)


def torch_rows(cases: Sequence[Case], language: LanguageConfig | None, device: str = "cuda") -> Iterator[Row]:
    """The reference's parts, for graphs that were made here."""
    backend = "torch"
    if language is None:
        yield Row(
            backend, "", "bf16", note="no modules of a bundle's graphs: see --size, or `glus-edge bench --baseline`"
        )
        return
    missing = cuda_missing() if device == "cuda" else ""
    if missing:
        yield Row(backend, "", "bf16", note=missing)
        return
    for case in cases:
        if case.module is not None:
            times = module_times(case, WARM_UP, MEASURED, device)
            note = "8 images, as the reference" if case.graph == "clip_encoder" else ""
        else:
            times, note = language_times(language, WARM_UP, MEASURED, device), "the whole prompt, as the reference"
        yield row_of_times(Row(backend, case.graph, "bf16"), times, note=note)


if __name__ == "__main__":
    sys.exit(main())
