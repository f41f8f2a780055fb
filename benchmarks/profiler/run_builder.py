"""One contender's run as it grows: its frames, and what the machine did while it was its turn."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from glus_edge.benchmarks.instruments.yardstick import YardstickWork
from glus_edge.benchmarks.profiler.frame_probe import ProbedFrame
from glus_edge.benchmarks.profiler.opened import Opened
from glus_edge.benchmarks.records.frame_sample import FrameSample, SourceCount
from glus_edge.benchmarks.records.profile_record import (
    EnergyUse,
    LoopFacts,
    ProfileRun,
    StreamTrial,
    VideoFacts,
    Yardstick,
)
from glus_edge.benchmarks.sensors.energy import EnergyMeters
from glus_edge.benchmarks.sensors.machine_watch import MachineWatch
from glus_edge.runtime.loop.result import FrameResult


@dataclass
class Instruments:
    """What stands beside every run."""

    meters: EnergyMeters
    watch: MachineWatch
    yardstick: YardstickWork
    idle_watts: dict[str, float]  # by power source
    origin: float  # the record's `started`, by time.perf_counter


@dataclass
class RunBuilder:
    """Collects one run."""

    opened: Opened
    instruments: Instruments
    policy: str
    sentences: tuple[str, ...]
    warm_up_frames: int
    sources: int = 1
    rate: float | None = None
    deadline_ms: float | None = None
    counts: Sequence[SourceCount] = ()
    trials: Sequence[StreamTrial] = ()
    _started: float | None = None
    _frames: list[FrameSample] = field(default_factory=list)
    _turns: list[tuple[float, float]] = field(default_factory=list)
    _joules: dict[str, float] = field(default_factory=dict)
    _yardsticks: list[Yardstick] = field(default_factory=list)

    @property
    def started(self) -> float:
        """When the first turn began, by time.perf_counter."""
        assert self._started is not None, "a turn comes first"
        return self._started

    @contextmanager
    def turn(self) -> Iterator[int]:
        """What runs within belongs to this run; gives the number of the block."""
        block = len(self._turns)
        yardstick = self.instruments.yardstick
        self._yardsticks.append(Yardstick(block, yardstick.arithmetic_ms(), yardstick.copy_ms()))
        before, begin = self.instruments.meters.joules(), time.perf_counter()
        if self._started is None:
            self._started = begin
        yield block
        end, after = time.perf_counter(), self.instruments.meters.joules()
        self._turns.append((begin, end))
        for source, joules in after.items():
            self._joules[source] = self._joules.get(source, 0.0) + joules - before[source]

    def add(
        self,
        probed: ProbedFrame,
        result: FrameResult,
        *,
        stream: int,
        index: int,
        block: int,
        arrived: float,
        decode_ms: float,
    ) -> None:
        """A frame is done. `arrived`: by time.perf_counter."""
        if self.opened.trace is not None:
            self.opened.trace.frame(f"stream {stream}, frame {index}", arrived, probed.finished)
        self.opened.measured += 1
        self._frames.append(
            FrameSample(
                stream=stream,
                index=index,
                block=block,
                arrived_s=arrived - self.started,
                started_s=probed.started - self.started,
                finished_s=probed.finished - self.started,
                decode_ms=decode_ms,
                asked=result.asked,
                segmented=all(score.segmented for score in result.scores),
                stages=probed.stages,
                calls=probed.calls,
                counters=probed.counters,
            )
        )

    def build(self, video: VideoFacts) -> ProfileRun:
        """The run, done."""
        settings, count = self.opened.settings, len(self.sentences)
        samples = [
            sample
            for begin, end in self._turns
            for sample in self.instruments.watch.samples(self.started, end)
            if begin - self.started <= sample.at_s
        ]
        seconds = sum(end - begin for begin, end in self._turns)
        idle = self.instruments.idle_watts
        energy = [
            EnergyUse(meter.source, self._joules[meter.source], seconds, idle.get(meter.source), meter.counter)
            for meter in self.instruments.meters.meters
        ]
        return ProfileRun(
            name=f"{self.policy}, {count} sentence{'s' if count > 1 else ''}",
            scenario=settings.scenario,
            loop=LoopFacts(self.policy, settings.refresh, settings.memory, settings.lost, self.sentences),
            video=video,
            sources=self.sources,
            rate=self.rate,
            deadline_ms=self.deadline_ms,
            started_s=self.started - self.instruments.origin,
            seconds=seconds,
            warm_up_frames=self.warm_up_frames,
            frames=tuple(self._frames),
            counts=tuple(self.counts),
            trials=tuple(self.trials),
            yardsticks=tuple(self._yardsticks),
            machine=tuple(samples),
            energy=tuple(energy),
        )
