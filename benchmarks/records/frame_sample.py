"""One frame as a profile measured it: nothing summed up, nothing left out."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StageSpan:
    """A stage of the loop, as `FrameResult.timings` names it. Spans of one frame do not overlap."""

    name: str
    begin_ms: float  # since the frame was started
    ms: float


@dataclass(frozen=True)
class GraphCall:
    """One run of an engine. On a device that runs beside the host, `ms` is what the host waited for it."""

    graph: str
    begin_ms: float  # since the frame was started
    ms: float
    sizes: dict[str, int]  # of the dimensions of the graph's signature that vary
    tensor_bytes: int  # of all inputs and outputs


@dataclass(frozen=True)
class FrameCounters:
    """What happened in the process and the machine while the frame was worked on."""

    cpu_ms: float  # processor time of this process, all its threads
    other_cpu_ms: float | None  # of all other processes, in steps of the system's clock; None: the system does not say
    gc_ms: float  # Python's garbage collector
    stolen_ms: float | None  # processor time that the host of a virtual machine gave to others
    quota_ms: float | None  # that a container's processor quota stopped its threads, added up
    preemptions: int  # times a thread of this process was taken off a core


@dataclass(frozen=True)
class FrameSample:
    """One frame, from its arrival to its masks. Times in seconds are since the run's `started_s`."""

    stream: int  # the source, or the clip, that it belongs to, from 0
    index: int  # its place in that source, from 0
    block: int  # frames of one block ran without another contender in between
    arrived_s: float  # when it could first have been decoded
    started_s: float  # when the loop began to work on it
    finished_s: float  # when its masks were there
    decode_ms: float  # decoding it, in whichever thread that was
    asked: bool  # whether the language model was asked about it
    segmented: bool  # whether every sentence has a mask
    stages: tuple[StageSpan, ...]
    calls: tuple[GraphCall, ...]
    counters: FrameCounters

    @property
    def latency_ms(self) -> float:
        """From its arrival to its masks."""
        return 1e3 * (self.finished_s - self.arrived_s)

    @property
    def work_ms(self) -> float:
        """From when the loop began to work on it to its masks."""
        return 1e3 * (self.finished_s - self.started_s)

    def stages_ms(self) -> dict[str, float]:
        """Milliseconds of each stage that ran, all its spans together."""
        spent: dict[str, float] = {}
        for span in self.stages:
            spent[span.name] = spent.get(span.name, 0.0) + span.ms
        return spent


@dataclass(frozen=True)
class SourceCount:
    """The frames of one source of a live run, warm-up excluded."""

    stream: int
    sent: int  # that arrived
    answered: int  # that got masks
    skipped: int  # that a newer frame replaced before the loop came to them
    late: int  # of those answered: later than the deadline
