"""Collects what one frame does: its stages, its graph calls, and what else the process and the machine did meanwhile."""

import gc
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from glus_edge.benchmarks.instruments.counting_engine import axis_sizes
from glus_edge.benchmarks.profiler.trace import Trace
from glus_edge.benchmarks.records.frame_sample import FrameCounters, GraphCall, StageSpan
from glus_edge.benchmarks.sensors.process_counters import CounterReading, ProcessCounters
from glus_edge.runtime.backends.engine import Engine
from glus_edge.runtime.backends.wrapped_engine import WrappedEngine
from glus_edge.runtime.device.device import Array, Device
from glus_edge.runtime.utils.stopwatch import Stopwatch


class ProbedFrame(NamedTuple):
    """One frame's."""

    started: float  # seconds, by time.perf_counter
    finished: float
    stages: tuple[StageSpan, ...]
    calls: tuple[GraphCall, ...]
    counters: FrameCounters


class FrameProbe:
    """Watches the thread that runs the loop, frame by frame. One frame is watched at a time."""

    def __init__(self, trace: Trace | None = None) -> None:
        self._trace = trace
        self._counters = ProcessCounters()
        self._stages: list[tuple[str, float, float]] = []
        self._calls: list[tuple[str, float, float, dict[str, int], int]] = []
        self._begin: tuple[float, CounterReading] | None = None
        self._collecting = 0.0

    def __enter__(self) -> "FrameProbe":
        gc.callbacks.append(self._collected)
        return self

    def __exit__(self, *_: object) -> None:
        gc.callbacks.remove(self._collected)
        self._counters.close()

    def begin(self) -> None:
        """A frame begins."""
        self._stages, self._calls = [], []
        self._begin = time.perf_counter(), self._counters.read()

    def end(self) -> ProbedFrame:
        """It is done."""
        assert self._begin is not None, "begin() comes first"
        finished = time.perf_counter()
        started, before = self._begin
        counters = self._counters.read().since(before)
        stages = tuple(StageSpan(name, 1e3 * (a - started), 1e3 * (b - a)) for name, a, b in self._stages)
        calls = tuple(
            GraphCall(name, 1e3 * (a - started), 1e3 * (b - a), sizes, size) for name, a, b, sizes, size in self._calls
        )
        if self._trace is not None:
            for name, a, b in self._stages:
                self._trace.span("wait: decode" if name == "decode" else name, "stage", a, b)
            for name, a, b, sizes, _ in self._calls:
                self._trace.span(f"run {name}", "engine", a, b, sizes)
        self._begin = None
        return ProbedFrame(started, finished, stages, calls, counters)

    def stage(self, name: str, begin: float, end: float) -> None:
        """A stage ran, from `begin` to `end` by time.perf_counter."""
        self._stages.append((name, begin, end))

    def call(self, graph: str, begin: float, end: float, sizes: dict[str, int], tensor_bytes: int) -> None:
        """A graph ran."""
        self._calls.append((graph, begin, end, sizes, tensor_bytes))

    def stopwatch(self) -> Stopwatch:
        """For a Segmenter."""
        return _ProbingStopwatch(self)

    def _collected(self, phase: str, info: dict[str, Any]) -> None:
        now = time.perf_counter()
        if phase == "start":
            self._collecting = now
            return
        self._counters.gc_ms += 1e3 * (now - self._collecting)
        if self._trace is not None:
            self._trace.span(f"garbage collection, generation {info['generation']}", "wait", self._collecting, now)


class _ProbingStopwatch(Stopwatch):
    """A stopwatch that tells the probe when each stage began and ended."""

    def __init__(self, probe: FrameProbe) -> None:
        super().__init__()
        self._probe = probe

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """See Stopwatch."""
        begin = time.perf_counter()
        try:
            with super().stage(name):
                yield
        finally:
            self._probe.stage(name, begin, time.perf_counter())


class ProbedEngine(WrappedEngine):
    """An engine that tells the probe of every run."""

    def __init__(self, engine: Engine, probe: FrameProbe, device: Device) -> None:
        """`device`: the engine's, or one around it."""
        super().__init__(engine)
        self.device = device
        self._probe = probe

    def run(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """See Engine."""
        begin = time.perf_counter()
        super().run(inputs, outputs)
        end = time.perf_counter()
        tensor_bytes = sum(array.nbytes for array in (*inputs.values(), *outputs.values()))
        self._probe.call(self.name, begin, end, axis_sizes(self.signature, inputs), tensor_bytes)
