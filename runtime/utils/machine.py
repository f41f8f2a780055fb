"""What machine this is: processor, threads, memory, disk and NVIDIA devices, read without any package."""

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from glus_edge.runtime.errors import InputError

# What makes matrix products fast, by the names /proc/cpuinfo gives them: x86 first, then ARM.
FAST_FEATURES = (
    *("avx", "avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_int8", "amx_bf16", "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2"),
)
_QUERY_SECONDS = 10


@dataclass(frozen=True)
class Processor:
    """The CPU."""

    name: str
    features: tuple[str, ...]  # those of FAST_FEATURES it has; empty where the system does not say
    threads: int  # hardware threads of the machine
    usable_threads: int  # those this process may use: affinity and container quota counted in


@dataclass(frozen=True)
class FreeSpace:
    """A kind of room, bytes."""

    total_bytes: int
    free_bytes: int


@dataclass(frozen=True)
class NvidiaDevices:
    """What can be seen of NVIDIA devices without a driver API."""

    jetson: str | None  # the board's L4T release line
    gpus: tuple[str, ...]  # name, memory and driver, as nvidia-smi tells them
    present: bool  # a device or driver is there, whether or not it tells its name


def processor() -> Processor:
    """The CPU of this machine."""
    fields: dict[str, str] = {}
    for line in _text("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    found = set((fields.get("flags") or fields.get("Features") or "").split())
    name = fields.get("model name") or platform.processor() or platform.machine()
    features = tuple(feature for feature in FAST_FEATURES if feature in found)
    return Processor(name, features, os.cpu_count() or 1, usable_threads())


def thread_count(asked: int) -> int:
    """As many threads as asked for; 0: every usable one. InputError: fewer than none."""
    if asked < 0:
        raise InputError(f"--threads: got {asked}, expected 0, for every usable core, or more")
    return asked or usable_threads()


def usable_threads() -> int:
    """Threads this process may use: the affinity mask, cut by a container's CPU quota."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _text("/sys/fs/cgroup/cpu.max").strip().partition(" ")
    if quota.isdigit() and period.isdigit() and int(period):
        threads = min(threads, max(1, int(quota) // int(period)))
    return threads


def memory() -> FreeSpace | None:
    """Main memory, a container's limit counted in; None where the system does not say."""
    amounts: dict[str, int] = {}
    for line in _text("/proc/meminfo").splitlines():
        key, _, value = line.partition(":")
        if value.split()[1:] == ["kB"]:
            amounts[key] = int(value.split()[0]) * 1024
    if "MemTotal" not in amounts:
        return None
    total, free = amounts["MemTotal"], amounts.get("MemAvailable", 0)
    limit, used = _text("/sys/fs/cgroup/memory.max").strip(), _text("/sys/fs/cgroup/memory.current").strip()
    if limit.isdigit() and used.isdigit() and int(limit) < total:
        total, free = int(limit), min(free, max(0, int(limit) - int(used)))
    return FreeSpace(total, free)


def disk(path: Path) -> FreeSpace:
    """The disk a path lies on."""
    usage = shutil.disk_usage(path)
    return FreeSpace(usage.total, usage.free)


def nvidia_devices() -> NvidiaDevices:
    """NVIDIA devices, by their traces in the system and what nvidia-smi says."""
    jetson = _text("/etc/nv_tegra_release").partition("\n")[0].strip("# ") or None
    gpus = tuple(line.strip() for line in _nvidia_smi().splitlines() if line.strip())
    nodes = (Path("/dev/nvidiactl"), Path("/proc/driver/nvidia/version"))
    return NvidiaDevices(jetson, gpus, bool(jetson or gpus) or any(node.exists() for node in nodes))


def _nvidia_smi() -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    query = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=_QUERY_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
