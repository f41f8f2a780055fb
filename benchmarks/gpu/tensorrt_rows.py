"""TensorRT, or TensorRT for RTX, in the GPU benchmark: plans built against the clock, engines compared and timed."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from glus_edge.benchmarks.gpu.cases import LIMITS, Case
from glus_edge.benchmarks.gpu.clock import BuildDeadline, Clock
from glus_edge.benchmarks.gpu.frames import Frames, our_frames
from glus_edge.benchmarks.gpu.row import MEASURED, WARM_UP, GpuRow, failure_note, row_of_times
from glus_edge.benchmarks.instruments.device_peak import event_ms, measure_device_peak
from glus_edge.benchmarks.instruments.peak import MachinePeak
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.precisions import DTYPES, FP16, FP32, precision_of
from glus_edge.runtime.bundle.signatures import GRAPHS, GraphSignature
from glus_edge.runtime.device.cuda_api import Cuda
from glus_edge.runtime.device.cuda_device import CudaDevice
from glus_edge.runtime.engine_build.accuracy_gate import difference
from glus_edge.runtime.errors import EngineError
from glus_edge.runtime.onnx_rewrite.temporary_graph import temporary_graph
from glus_edge.runtime.pixels.preprocess_graph import PREPROCESS_GRAPHS, graph_signature, preprocess_graph
from glus_edge.runtime.pixels.tower_inputs import DeviceTowerInputs
from glus_edge.runtime.segmenter import Segmenter
from glus_edge.runtime.tensorrt.engine import TensorRtEngine
from glus_edge.runtime.tensorrt.library import TensorRt
from glus_edge.runtime.tensorrt.plan import BuildSettings, plan_from_onnx


class TensorRtBench:
    """One library on one device; also the Backend of its frames.

    Everything is built first: what is timed has the machine to itself.
    """

    def __init__(self, tensorrt: TensorRt, cuda: Cuda, bundle: Bundle, clock: Clock, kept_s: float) -> None:
        """`kept_s`: of the budget that building leaves to what is timed afterwards."""
        self.name, self.device = tensorrt.library, CudaDevice(cuda)
        self._tensorrt, self._cuda, self._bundle = tensorrt, cuda, bundle
        self._clock, self._kept_s = clock, kept_s
        self._rows: dict[str, GpuRow] = {}  # what building came to; a note says why there is no engine
        self._plans: dict[str, Any] = {}
        self._engines: dict[str, TensorRtEngine] = {}

    def build(self, case: Case) -> None:
        """The plan of a case, if there is time for it."""
        row = GpuRow(self.name, case.graph, case.precision)
        self._rows[case.graph] = self._built(row, case.path, case.signature)

    def build_pixels(self) -> None:
        """The plans of what makes pixels, which only whole frames need."""
        if not set(GRAPHS) <= set(self._plans):
            return
        for graph in PREPROCESS_GRAPHS:
            signature = graph_signature(self._bundle, graph, LIMITS)
            with temporary_graph(preprocess_graph(graph, signature), self._bundle.directory, graph) as path:
                self._rows[graph] = self._built(GpuRow(self.name, graph, FP32), path, signature)

    def rows(self, cases: Iterable[Case]) -> Iterator[GpuRow]:
        """What the device can do, then each graph: loaded, compared, timed. The engines stay, for `frames`."""
        peaks: dict[str, MachinePeak] = {}
        for case in cases:
            row = self._rows[case.graph]
            if row.note:
                yield row
                continue
            dtype = DTYPES[FP16 if case.precision.startswith(FP16) else FP32]
            try:
                with self._clock.phase(f"{self.name}: parity, latency, peaks"):
                    if dtype not in peaks:
                        peak = peaks[dtype] = measure_device_peak(self._tensorrt, self._cuda, dtype)
                        speeds = f"{peak.flops_per_second / 1e12:.1f} TFLOP/s, {peak.bytes_per_second / 1e9:.0f} GB/s"
                        yield GpuRow(self.name, "peak", precision_of(dtype), note=f"product and copy: {speeds}")
                    row = self._measured(row, case, peaks[dtype])
            except Exception as error:  # noqa: BLE001 - whatever one graph comes to, the others' rows are wanted
                row = replace(row, note=failure_note(error))
            yield row

    def frames(self) -> Frames:
        """The loop over all engines. EngineError: one is missing or fails."""
        built = {*self._plans, *self._engines}
        if missing := [graph for graph in (*GRAPHS, *PREPROCESS_GRAPHS) if graph not in built]:
            raise EngineError(f"whole frames: got no engine of {', '.join(missing)}, expected all; see their rows")
        with self._clock.phase(f"{self.name}: frames"):
            clip, sam = (self.open(graph) for graph in PREPROCESS_GRAPHS)
            manifest = self._bundle.manifest
            segmenter = Segmenter(self._bundle, self, DeviceTowerInputs(clip, sam, manifest.clip, manifest.sam))
            return our_frames(segmenter, self._clock, kept_s=0)

    def open(self, graph: str) -> TensorRtEngine:
        """See glus_edge.runtime.backends.engine.Backend."""
        if graph not in self._engines:
            # the engine has a copy of its plan, and on a board host and device share their memory
            plan, signature = self._plans.pop(graph), graph_signature(self._bundle, graph, LIMITS)
            self._engines[graph] = TensorRtEngine(self._tensorrt, graph, signature, plan, self.device)
        return self._engines[graph]

    def close(self) -> None:
        """Releases engines and plans."""
        for engine in self._engines.values():
            engine.close()
        self._engines.clear()
        self._plans.clear()

    def _built(self, row: GpuRow, path: Path, signature: GraphSignature) -> GpuRow:
        deadline = BuildDeadline(self._clock, self._kept_s)
        if self._clock.left_s(self._kept_s) < 0:
            return replace(row, note=f"not built: the {self._clock.budget_s:.0f} s are up; see --seconds")
        try:
            with self._clock.phase(f"{self.name}: building"):
                plan = plan_from_onnx(self._tensorrt, row.graph, path, signature, BuildSettings(), monitor=deadline)
        except Exception as error:  # noqa: BLE001 - whatever one graph comes to, the others' rows are wanted
            up = f"building was stopped: the {self._clock.budget_s:.0f} s are up; see --seconds"
            return replace(row, note=up if deadline.cancelled else failure_note(error))
        self._plans[row.graph] = plan.data
        return replace(row, build_s=plan.build_s, plan_mb=plan.size_bytes / 1e6)

    def _measured(self, row: GpuRow, case: Case, peak: MachinePeak) -> GpuRow:
        engine = self.open(case.graph)
        distance = difference(engine, case.calls)
        times = event_times(engine, self._cuda, case)
        notes = [] if distance.next_token_agrees else ["the next token differs"]
        if engine.graphs.failure:
            notes.append(f"not replayed: {engine.graphs.failure}")
        return row_of_times(
            row,
            times,
            cosine=distance.cosine,
            relative_l2=distance.relative_l2,
            share=floor_ms(case, peak) / sorted(times)[len(times) // 2],
            note="; ".join(notes),
        )


def event_times(engine: TensorRtEngine, cuda: Cuda, case: Case) -> list[float]:
    """Milliseconds of each call on the device, inputs and outputs there already."""
    device, call = engine.device, case.calls[-1]
    inputs = {name: device.empty(values.shape, values.dtype) for name, values in call.inputs.items()}
    outputs = {name: device.empty(values.shape, values.dtype) for name, values in call.outputs.items()}
    for name, values in call.inputs.items():
        device.write(inputs[name], values)
    return event_ms(cuda, engine.stream, lambda: engine.run(inputs, outputs), WARM_UP, MEASURED)


def floor_ms(case: Case, peak: MachinePeak) -> float:
    """The least a call can take: the longer of its arithmetic and of moving its weights, inputs and outputs once."""
    call = case.calls[-1]
    tensors = sum(values.nbytes for values in (*call.inputs.values(), *call.outputs.values()))
    return 1e3 * max(
        case.work.flops / peak.flops_per_second, (case.work.weight_bytes + tensors) / peak.bytes_per_second
    )
