"""The machine's clocks, temperatures, throttling and load: at one moment, and several times a second while a run goes on.

All from the system's files and NVML. What is not there is None or empty.
"""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from glus_edge.benchmarks.records.machine_state import MachineSample, MachineState
from glus_edge.benchmarks.sensors.nvml import Nvml
from glus_edge.benchmarks.sensors.process_counters import CounterReading, ProcessCounters
from glus_edge.runtime.utils.process_memory import resident_bytes

SAMPLE_S = 0.25
_QUERY_S = 10


def machine_state(nvml: Nvml | None, root: Path = Path("/")) -> MachineState:
    """Now. `root`: where the system's files lie."""
    load = os.getloadavg() if hasattr(os, "getloadavg") else None
    return MachineState(
        time=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        load=load,
        core_mhz=core_mhz(root),
        governors=tuple(sorted({_text(file) for file in _cores(root, "cpufreq/scaling_governor")} - {""})),
        power_mode=_power_mode(root),
        celsius=celsius(root),
        throttle_counts=throttle_counts(root),
        gpus=() if nvml is None else nvml.states(),
    )


def core_mhz(root: Path = Path("/")) -> tuple[float, ...]:
    """Clock of each core that says so."""
    khz = [_number(file) for file in _cores(root, "cpufreq/scaling_cur_freq")]
    if khz:
        return tuple(value / 1e3 for value in khz if value is not None)
    lines = (line.partition(":") for line in _text(root / "proc/cpuinfo").splitlines())
    return tuple(float(value) for name, _, value in lines if name.strip() == "cpu MHz")


def celsius(root: Path = Path("/")) -> dict[str, float]:
    """By thermal zone. A zone that is switched off says -256 and is left out."""
    zones: dict[str, float] = {}
    for folder in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        value = _number(folder / "temp")
        if value is not None and value > -100_000:
            zones[f"{folder.name} {_text(folder / 'type')}".strip()] = value / 1e3
    return zones


def throttle_counts(root: Path = Path("/")) -> dict[str, int]:
    """Times since boot: Intel's cores and packages by temperature, a Jetson's rails by over-current."""
    files = {
        **{f"{file.parents[1].name} {file.stem}": file for file in _cores(root, "thermal_throttle/*_throttle_count")},
        **{f"{file.parent.name} {file.name}": file for file in (root / "sys/class/hwmon").glob("*/oc*_event_cnt")},
    }
    counts = {name: _number(file) for name, file in sorted(files.items())}
    return {name: count for name, count in counts.items() if count is not None}


class MachineWatch:
    """Samples in a thread of its own. Use it as a context manager around everything that is measured."""

    def __init__(
        self,
        nvml: Nvml | None,
        owners: Callable[[], Mapping[str, int]],
        joules: Callable[[], Mapping[str, float]],
        progress: Callable[[], int],
        interval_s: float = SAMPLE_S,
    ) -> None:
        """`owners`: bytes by owner; `joules`: by power source, as EnergyMeters has them; `progress`: frames measured."""
        self._nvml, self._owners, self._joules, self._progress = nvml, owners, joules, progress
        self._interval_s = interval_s
        self._counters = ProcessCounters()
        self._samples: list[tuple[float, MachineSample]] = []  # with their moments by time.perf_counter
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="glus-edge-watch", daemon=True)

    def samples(self, begin: float, end: float) -> tuple[MachineSample, ...]:
        """Those between two moments of time.perf_counter; `at_s` is counted from the first."""
        return tuple(replace(sample, at_s=moment - begin) for moment, sample in self._samples if begin <= moment <= end)

    def all(self) -> Sequence[tuple[float, MachineSample]]:
        """With their moments by time.perf_counter."""
        return tuple(self._samples)

    def __enter__(self) -> "MachineWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        self._counters.close()

    def _follow(self) -> None:
        last, reading, joules = time.perf_counter(), self._counters.read(), self._joules()
        counts, quota = throttle_counts(), reading.quota_ms
        while not self._stopped.wait(self._interval_s):
            now, new, used, counted = time.perf_counter(), self._counters.read(), self._joules(), throttle_counts()
            reasons = [name for name, count in counted.items() if count > counts.get(name, 0)]
            if quota is not None and new.quota_ms is not None and new.quota_ms > quota:
                reasons.append("processor quota")
            watts = {name: (value - joules[name]) / (now - last) for name, value in used.items()}
            self._samples.append((now, self._sample(now - last, new, reading, reasons, watts)))
            last, reading, joules, counts, quota = now, new, used, counted, new.quota_ms

    def _sample(
        self, seconds: float, new: CounterReading, old: CounterReading, reasons: list[str], watts: dict[str, float]
    ) -> MachineSample:
        spent = new.since(old)
        clocks, zones = core_mhz(), celsius()
        for gpu in () if self._nvml is None else self._nvml.states():
            reasons += [f"{gpu.name}: {reason}" for reason in gpu.throttled]
        return MachineSample(
            at_s=0.0,
            frames=self._progress(),
            own_cores=spent.cpu_ms / 1e3 / seconds,
            other_cores=None if spent.other_cpu_ms is None else spent.other_cpu_ms / 1e3 / seconds,
            core_mhz=sum(clocks) / len(clocks) if clocks else None,
            hottest_celsius=max(zones.values(), default=None),
            throttled=tuple(reasons),
            resident_bytes=resident_bytes(),
            device_bytes=None if self._nvml is None else self._nvml.own_bytes(),
            owners=dict(self._owners()),
            watts=watts,
        )


def _cores(root: Path, pattern: str) -> list[Path]:
    return sorted((root / "sys/devices/system/cpu").glob(f"cpu[0-9]*/{pattern}"))


def _power_mode(root: Path) -> str | None:
    """What nvpmodel says on a Jetson, the firmware's profile elsewhere."""
    program = shutil.which("nvpmodel")
    if program is not None:
        try:
            done = subprocess.run([program, "-q"], capture_output=True, text=True, timeout=_QUERY_S, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        for line in done.stdout.splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "NV Power Mode":
                return value.strip()
    return _text(root / "sys/firmware/acpi/platform_profile") or None


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.lstrip("-").isdecimal() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
