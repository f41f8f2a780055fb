"""What the machine was like at one moment: clocks, temperatures, throttling, load, memory."""

from dataclasses import dataclass


@dataclass(frozen=True)
class GpuState:
    """One NVIDIA GPU, as its driver's management library tells it. None: it does not tell."""

    name: str
    graphics_mhz: int | None
    memory_mhz: int | None
    celsius: int | None
    watts: float | None
    limit_watts: float | None  # that it is held to
    used_bytes: int | None
    throttled: tuple[str, ...]  # reasons that hold its clocks down now, idleness left out


@dataclass(frozen=True)
class MachineState:
    """Before and after the runs. None, or an empty table: the system does not tell."""

    time: str  # UTC, ISO 8601
    load: tuple[float, float, float] | None  # runnable processes over 1, 5 and 15 minutes
    core_mhz: tuple[float, ...]  # of each core that says so
    governors: tuple[str, ...]  # of the cores' frequency, each name once
    power_mode: str | None  # of a Jetson (nvpmodel) or a laptop (platform profile)
    celsius: dict[str, float]  # by thermal zone
    throttle_counts: dict[str, int]  # times since boot, by core or package or rail
    gpus: tuple[GpuState, ...]


@dataclass(frozen=True)
class MachineSample:
    """One look at the machine while a run goes on, several a second."""

    at_s: float  # since the run's `started_s`
    frames: int  # measured by then
    own_cores: float  # cores that this process kept busy since the sample before
    other_cores: float | None  # that other processes kept busy
    core_mhz: float | None  # the mean over cores
    hottest_celsius: float | None
    throttled: tuple[str, ...]  # what throttles now, or did since the sample before
    resident_bytes: int | None
    device_bytes: int | None  # that this process holds on the GPU
    owners: dict[
        str, int
    ]  # bytes by owner, see docs/profiling.md; `resident_bytes` minus those on the host is the rest
    watts: dict[str, float]  # by power source, since the sample before
