"""The record of a profile, format version 1: every raw sample, and all that the samples depend on.

docs/profiling.md describes it field by field. Figures such as percentiles are not in it: they follow from the samples.
"""

from dataclasses import dataclass

from glus_edge.benchmarks.instruments.environment import Environment
from glus_edge.benchmarks.records.frame_sample import FrameSample, SourceCount
from glus_edge.benchmarks.records.machine_state import MachineSample, MachineState

FORMAT, VERSION = "glus-edge profile", 1

SCENARIOS = {
    "single": "the next frame comes when the last one is done",
    "live": "one source at its own rate, whether or not the loop keeps up",
    "streams": "how many sources at a rate with at most 1% of their frames skipped",
    "server": "clips that arrive at random moments and wait for each other",
    "offline": "frames a second over many videos",
}


@dataclass(frozen=True)
class BundleFacts:
    """The bundle that ran."""

    name: str
    manifest_sha256: str
    graphs_sha256: dict[str, str]  # by file, weights files included
    compute: dict[str, str]  # precision each graph computes in
    weights: dict[str, str]  # precision of each graph's weights


@dataclass(frozen=True)
class EngineFacts:
    """What ran it."""

    backend: str
    reason: str  # why this backend: asked for, or what `auto` found
    threads: int  # of each graph
    options: dict[str, str]  # all other settings of the backend, by name


@dataclass(frozen=True)
class LoopFacts:
    """The rules of the loop and what it was asked."""

    policy: str
    refresh: str
    memory: str
    lost: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class VideoFacts:
    """What was shown to it."""

    name: str  # of the file or folder, without its path; or 'made up'
    height: int  # pixels
    width: int  # pixels
    frame_rate: float  # its own, frames a second


@dataclass(frozen=True)
class Yardstick:
    """A fixed piece of work that has nothing to do with the bundle, timed at the start of every block.

    Where it took longer, the machine was slower: a difference between two records that it shares is not the bundle's.
    """

    block: int
    arithmetic_ms: float  # arithmetic on numbers that fit into a core's cache, on one thread
    copy_ms: float  # a copy that fits into no cache


@dataclass(frozen=True)
class StreamTrial:
    """One attempt of the scenario `streams`."""

    streams: int  # sources at once
    seconds: float
    sent: int  # frames of all sources
    skipped: int
    verifies: bool  # False: a step of the search; True: one of the runs that verify its answer


@dataclass(frozen=True)
class EnergyUse:
    """What one power source gave during a run. A source that cannot be read is absent, see `energy_absent`."""

    source: str  # such as 'nvml: NVIDIA H100', 'ina3221: VDD_IN', 'rapl: package-0'
    joules: float  # over the run
    seconds: float  # that `joules` belongs to
    idle_watts: float | None  # before the run, with the engines open and nothing running; None: not measured
    counter: bool  # True: the difference of an energy counter; False: power samples, integrated

    @property
    def net_joules(self) -> float | None:
        """Beyond what an idle machine would have used."""
        return None if self.idle_watts is None else self.joules - self.idle_watts * self.seconds


@dataclass(frozen=True)
class ProfileRun:
    """One scenario with one set of rules."""

    name: str  # such as 'window, 1 sentence'; no two runs of a record share a name and a scenario
    scenario: str  # a key of SCENARIOS
    loop: LoopFacts
    video: VideoFacts
    sources: int  # streams at once, or clips that came
    rate: float | None  # of each source in frames a second, or clips a second; None: as fast as they are done
    deadline_ms: float | None  # after which an answer is late
    started_s: float  # since the record's `started`
    seconds: float  # that the measured part lasted, other contenders' blocks left out
    warm_up_frames: int  # run before, in none of the samples
    frames: tuple[FrameSample, ...]
    counts: tuple[SourceCount, ...]  # of live sources
    trials: tuple[StreamTrial, ...]  # of the scenario `streams`; its `frames` are those of the verifying runs
    yardsticks: tuple[Yardstick, ...]
    machine: tuple[MachineSample, ...]
    energy: tuple[EnergyUse, ...]


@dataclass(frozen=True)
class ProfileRecord:
    """One call of `glus-edge bench profile`."""

    format: str  # FORMAT
    format_version: int  # VERSION; a field that is added with a default does not change it
    disturbances: tuple[
        str, ...
    ]  # what makes these samples doubtful: throttling, other processes, a machine that drifts
    started: str  # UTC, ISO 8601
    command_line: tuple[str, ...]
    commit: str | None  # of the source tree, '+changed' behind it if files differ; None: not run from a repository
    driver: str | None  # of the NVIDIA GPU
    environment: Environment
    bundle: BundleFacts
    engine: EngineFacts
    before: MachineState
    after: MachineState
    opened_bytes: dict[str, int]  # by which each graph's opening made the process grow: its weights, and its engine
    energy_absent: tuple[str, ...]  # each power source that could not be read, and why
    runs: tuple[ProfileRun, ...]
