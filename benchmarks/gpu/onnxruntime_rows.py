"""ONNX Runtime's CUDA provider in the GPU benchmark, by the clock, with copies to and from the host."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np
import onnxruntime

from glus_edge.benchmarks.gpu.cases import Case
from glus_edge.benchmarks.gpu.clock import Clock
from glus_edge.benchmarks.gpu.row import MEASURED, WARM_UP, GpuRow, failure_note, row_of_times
from glus_edge.benchmarks.gpu.settings import ONNXRUNTIME
from glus_edge.runtime.backends.onnxruntime_cuda import load_cuda_libraries
from glus_edge.runtime.engine_build.accuracy_gate import closeness

PROVIDER = "CUDAExecutionProvider"


def provider_missing() -> str:
    """Why ONNX Runtime cannot run on a GPU here; '' if it may."""
    available = onnxruntime.get_available_providers()
    if PROVIDER not in available:
        return f"{PROVIDER}: not in this ONNX Runtime, which has {', '.join(available)}"
    load_cuda_libraries()
    return ""


def onnxruntime_rows(cases: Iterable[Case], clock: Clock, provider: str = PROVIDER) -> Iterator[GpuRow]:
    """A row a graph; one that says why where it does not run, or where there is no time left."""
    for case in cases:
        row = GpuRow(ONNXRUNTIME, case.graph, case.precision)
        if clock.left_s() < 0:
            yield replace(row, note=f"not run: the {clock.budget_s:.0f} s are up; see --seconds")
            continue
        try:
            with clock.phase(ONNXRUNTIME):
                row = _measured(row, case, provider)
        except Exception as error:  # noqa: BLE001 - whatever one graph comes to, the others' rows are wanted
            row = replace(row, note=failure_note(error))
        yield row


def _measured(row: GpuRow, case: Case, provider: str) -> GpuRow:
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(case.path), settings, providers=[provider])
    used = session.get_providers()[0]
    if used != provider:
        return GpuRow(row.backend, row.graph, row.precision, note=f"fell back to {used}; see `glus-edge doctor`")
    call = case.calls[-1]
    names = list(call.outputs)
    outputs = dict(zip(names, session.run(names, call.inputs), strict=True))
    pairs = np.array(
        [closeness(outputs[name], wanted) for name, wanted in call.outputs.items() if wanted.dtype.kind == "f"]
    )
    return row_of_times(
        row,
        clock_times(lambda: session.run(names, call.inputs)),
        cosine=float(pairs[:, 0].min()),  # numpy's keep NaN, the builtins may drop it
        relative_l2=float(pairs[:, 1].max()),
        note="with copies to and from the host",
    )


def clock_times(run: Callable[[], object]) -> list[float]:
    """Milliseconds of each call."""
    times = []
    for number in range(WARM_UP + MEASURED):
        start = time.perf_counter()
        run()
        if number >= WARM_UP:
            times.append((time.perf_counter() - start) * 1e3)
    return times
