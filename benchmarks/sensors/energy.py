"""Energy by power source: counters where there are any, power that is sampled and integrated where there are none.

A source that cannot be read is absent, with the reason. Nothing is estimated from load or from data sheets.
"""

import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from glus_edge.benchmarks.sensors.jetson_power import HWMON, ina_rails, rail_watts
from glus_edge.benchmarks.sensors.nvml import Nvml

RAPL = Path("/sys/class/powercap")
SAMPLE_S = 0.1  # between two samples of power; tegrastats is asked for the same
_LONGEST_GAP_S = 5.0  # between samples: beyond it the energy in between is not known


class Meter(Protocol):
    """One power source."""

    source: str  # as EnergyUse has it
    counter: bool  # as EnergyUse has it

    def joules(self) -> float:
        """Since some moment; only differences mean something."""

    def close(self) -> None:
        """Stops."""


class CounterMeter:
    """An energy counter, which may wrap around."""

    counter = True

    def __init__(self, source: str, read: Callable[[], float], wraps_at: float | None = None) -> None:
        """`read`: joules; `wraps_at`: after which it starts again from 0."""
        self.source = source
        self._read, self._wraps_at = read, wraps_at
        self._last, self._total = read(), 0.0

    def joules(self) -> float:
        """See Meter. Ask more often than the counter wraps around."""
        now = self._read()
        step = now - self._last
        if step < 0 and self._wraps_at is not None:
            step += self._wraps_at
        self._total, self._last = self._total + max(0.0, step), now
        return self._total

    def close(self) -> None:
        """Nothing runs."""


class PowerIntegral:
    """Power samples, integrated by the trapezoidal rule."""

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None
        self.joules = 0.0
        self.gaps = 0  # times that samples were too far apart to know what was in between

    def add(self, at: float, watts: float) -> None:
        """A sample at `at` seconds, not before the one before."""
        if self._last is not None:
            before, earlier = self._last
            if at - before > _LONGEST_GAP_S:
                self.gaps += 1
            else:
                self.joules += (at - before) * (watts + earlier) / 2
        self._last = at, watts


class SampledMeter:
    """A rail whose power a thread samples."""

    counter = False

    def __init__(self, source: str, integral: PowerIntegral, stop: Callable[[], None]) -> None:
        self.source, self._integral, self.close = source, integral, stop

    def joules(self) -> float:
        """See Meter."""
        return self._integral.joules


@dataclass
class EnergyMeters:
    """All that can be read here. Use it as a context manager."""

    meters: Sequence[Meter]
    absent: tuple[str, ...]  # each that cannot, and why

    def joules(self) -> dict[str, float]:
        """By source, since some moment."""
        return {meter.source: meter.joules() for meter in self.meters}

    def __enter__(self) -> "EnergyMeters":
        return self

    def __exit__(self, *_: object) -> None:
        for meter in self.meters:
            meter.close()


def energy_meters(nvml: Nvml | str, *, hwmon: Path = HWMON, powercap: Path = RAPL) -> EnergyMeters:
    """What this machine has. `nvml`: opened, or why it cannot be."""
    meters: list[Meter] = []
    absent: list[str] = []
    if isinstance(nvml, str):
        absent.append(nvml)
    else:
        gpus = _gpu_meters(nvml)
        meters += gpus
        if len(gpus) < len(nvml.names):
            absent.append("nvml: a GPU without an energy counter (older than Volta, or a Jetson's)")
    rails, reason = _rail_meters(hwmon)
    meters += rails
    absent += reason
    packages, reason = _rapl_meters(powercap)
    meters += packages
    absent += reason
    return EnergyMeters(meters, tuple(absent))


def _gpu_meters(nvml: Nvml) -> list[Meter]:
    def reader(number: int) -> Callable[[], float]:
        def read() -> float:
            joules = nvml.joules(number)
            assert joules is not None, "a counter that was there is gone"
            return joules

        return read

    found = [number for number in range(len(nvml.names)) if nvml.joules(number) is not None]
    twice = len(set(nvml.names)) < len(nvml.names)
    return [
        CounterMeter(f"nvml: {nvml.names[number]}{f' {number}' if twice else ''}", reader(number)) for number in found
    ]


def _rail_meters(hwmon: Path) -> tuple[list[Meter], list[str]]:
    """A Jetson's rails by sysfs; by tegrastats where that cannot be read."""
    rails = ina_rails(hwmon)
    if rails:

        def sample() -> Mapping[str, float]:
            read = ((rail.name, rail.watts()) for rail in rails)
            return {name: watts for name, watts in read if watts is not None}

        return _sampled("ina3221", [rail.name for rail in rails], sample), []
    program = shutil.which("tegrastats")
    if program is None:
        return [], ["ina3221: no Jetson power monitor under /sys/class/hwmon, and no tegrastats"]
    return _tegrastats_meters(program)


def _sampled(kind: str, names: Sequence[str], sample: Callable[[], Mapping[str, float]]) -> list[Meter]:
    integrals = {name: PowerIntegral() for name in names}
    stopped = threading.Event()

    def follow() -> None:
        while not stopped.is_set():
            for name, watts in sample().items():
                integrals[name].add(time.perf_counter(), watts)
            stopped.wait(SAMPLE_S)

    threading.Thread(target=follow, name="glus-edge-power", daemon=True).start()
    return [SampledMeter(f"{kind}: {name}", integral, stopped.set) for name, integral in integrals.items()]


def _tegrastats_meters(program: str) -> tuple[list[Meter], list[str]]:
    command = [program, "--interval", str(int(1e3 * SAMPLE_S))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    lines = process.stdout
    first = rail_watts(lines.readline())
    if not first:
        process.terminate()
        process.wait()
        return [], ["tegrastats: names no power rail; on some boards only root may read them"]
    integrals = {name: PowerIntegral() for name in first}

    def follow() -> None:
        for line in lines:
            for name, watts in rail_watts(line).items():
                if name in integrals:
                    integrals[name].add(time.perf_counter(), watts)

    def stop() -> None:
        process.terminate()
        process.wait()

    threading.Thread(target=follow, name="glus-edge-power", daemon=True).start()
    return [SampledMeter(f"tegrastats: {name}", integral, stop) for name, integral in integrals.items()], []


def _rapl_meters(powercap: Path) -> tuple[list[Meter], list[str]]:
    """Intel's and AMD's running average power limit, by the kernel's powercap interface: microjoules that wrap around."""
    meters: list[Meter] = []
    zones = sorted(powercap.glob("intel-rapl:*"))
    for zone in zones:
        try:
            name = (zone / "name").read_text().strip()
            wraps_at = int((zone / "max_energy_range_uj").read_text()) / 1e6
            meters.append(CounterMeter(f"rapl: {name} ({zone.name})", _microjoules(zone / "energy_uj"), wraps_at))
        except PermissionError:
            return [], [f"rapl: {zone}/energy_uj is for root alone to read"]
        except (OSError, ValueError):  # a zone without a counter
            continue
    return meters, [] if meters else [f"rapl: no energy counter under {powercap}"]


def _microjoules(path: Path) -> Callable[[], float]:
    return lambda: int(path.read_text()) / 1e6
