"""What stands beside every figure: the machine, the versions, the day."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from platform import machine, python_version, release, system

from glus_edge.runtime.utils.machine import (
    FreeSpace,
    NvidiaDevices,
    Processor,
    memory,
    nvidia_devices,
    processor,
    thread_count,
)

PACKAGES = (
    "glus-edge",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "av",
)

GPU_PACKAGES = ("tensorrt", "tensorrt_rtx", "tensorrt-rtx-cu13-bindings", "cuda-bindings", "pycuda")


@dataclass(frozen=True)
class Environment:
    """Where and when something was measured."""

    date: str  # UTC, ISO 8601
    processor: Processor
    nvidia: NvidiaDevices
    memory: FreeSpace | None  # None where the system does not say
    threads: int  # that each graph was given
    system: str
    python: str
    packages: dict[str, str]  # versions of those that are installed


def environment(threads: int, packages: Sequence[str] = PACKAGES) -> Environment:
    """This machine, now. `threads` as on the command line: 0 is every usable one."""
    return Environment(
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        processor=processor(),
        nvidia=nvidia_devices(),
        memory=memory(),
        threads=thread_count(threads),
        system=f"{system()} {release()} {machine()}",
        python=python_version(),
        packages={package: installed for package in packages if (installed := _version(package))},
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
