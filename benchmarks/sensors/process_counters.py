"""Processor time, preemptions and throttling of this process, beside what the rest of the machine did."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from glus_edge.benchmarks.records.frame_sample import FrameCounters

_STAT, _QUOTA = Path("/proc/stat"), Path("/sys/fs/cgroup/cpu.stat")
# The first line of /proc/stat, in clock ticks since boot (man 5 proc_stat): guests are part of user and nice.
_FIELDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_BUSY = ("user", "nice", "system", "irq", "softirq")


@dataclass(frozen=True)
class CounterReading:
    """Sums since some moment; only differences mean something. Milliseconds."""

    own_ms: float
    busy_ms: float | None  # of all processes on all cores; None: the system does not say
    stolen_ms: float | None
    quota_ms: float | None
    gc_ms: float
    preemptions: int

    def since(self, earlier: "CounterReading") -> FrameCounters:
        """What happened between two readings."""
        own = self.own_ms - earlier.own_ms
        busy = _difference(self.busy_ms, earlier.busy_ms)
        return FrameCounters(
            cpu_ms=own,
            other_cpu_ms=None if busy is None else max(0.0, busy - own),
            gc_ms=self.gc_ms - earlier.gc_ms,
            stolen_ms=_difference(self.stolen_ms, earlier.stolen_ms),
            quota_ms=_difference(self.quota_ms, earlier.quota_ms),
            preemptions=self.preemptions - earlier.preemptions,
        )


class ProcessCounters:
    """Keeps the system's files open: one reading takes some ten microseconds."""

    def __init__(self) -> None:
        self.gc_ms = 0.0  # the owner adds to it
        self._tick_ms = 1e3 / os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 10.0
        self._stat, self._quota = _opened(_STAT), _opened(_QUOTA)

    def read(self) -> CounterReading:
        """Now."""
        import resource  # here: Windows has none

        ticks = {} if self._stat is None else stat_ticks(os.pread(self._stat, 4096, 0).decode())
        quota = None if self._quota is None else throttled_ms(os.pread(self._quota, 4096, 0).decode())
        return CounterReading(
            own_ms=1e3 * time.process_time(),
            busy_ms=sum(ticks[name] for name in _BUSY) * self._tick_ms if ticks else None,
            stolen_ms=ticks["steal"] * self._tick_ms if ticks else None,
            quota_ms=quota,
            gc_ms=self.gc_ms,
            preemptions=resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw,
        )

    def close(self) -> None:
        """Lets go of the files."""
        for file in (self._stat, self._quota):
            if file is not None:
                os.close(file)
        self._stat = self._quota = None


def stat_ticks(text: str) -> dict[str, int]:
    """The sums over all cores in /proc/stat, by name; empty where its first line is another."""
    name, *values = text.partition("\n")[0].split()[: len(_FIELDS) + 1] or ("",)
    if name != "cpu" or len(values) < len(_FIELDS) or not all(map(str.isdecimal, values)):
        return {}
    return dict(zip(_FIELDS, map(int, values), strict=True))


def throttled_ms(text: str) -> float | None:
    """What a control group's cpu.stat says of its quota; None where it has none."""
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == "throttled_usec" and value.isdecimal():
            return int(value) / 1e3
    return None


def _opened(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY)
    except OSError:  # another system, or a machine without control groups
        return None


def _difference(later: float | None, earlier: float | None) -> float | None:
    return None if later is None or earlier is None else max(0.0, later - earlier)
