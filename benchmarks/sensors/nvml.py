"""NVIDIA GPUs by their driver's management library, NVML, through NVIDIA's own package nvidia-ml-py.

A Jetson's NVML knows little: see jetson_power.py.
"""

import os
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

from glus_edge.benchmarks.records.machine_state import GpuState
from glus_edge.runtime.errors import EngineError

T = TypeVar("T")

# Bits of nvmlDeviceGetCurrentClocksEventReasons that hold clocks down (nvml.h); idleness and clocks that someone set do not.
THROTTLE_REASONS = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "temperature, by software",
    0x40: "temperature, by hardware",
    0x80: "power brake",
}


class Nvml:
    """All GPUs that the driver shows. Use it as a context manager."""

    def __init__(self, library: ModuleType | None = None) -> None:
        """`library`: pynvml, or what answers like it. EngineError: no package, no driver, or no GPU."""
        self._nvml: Any = library or _library()
        try:
            self._nvml.nvmlInit()
            count = self._nvml.nvmlDeviceGetCount()
            self._devices = [self._nvml.nvmlDeviceGetHandleByIndex(number) for number in range(count)]
        except self._nvml.NVMLError as error:
            raise EngineError(f"nvml: {error}, expected an NVIDIA driver and a GPU") from error
        self.names = tuple(_text(self._nvml.nvmlDeviceGetName(device)) for device in self._devices)

    @property
    def driver(self) -> str | None:
        """Version of the driver."""
        version = self._known(self._nvml.nvmlSystemGetDriverVersion)
        return None if version is None else _text(version)

    def states(self) -> tuple[GpuState, ...]:
        """Of every GPU, now."""
        nvml = self._nvml
        states = []
        for name, device in zip(self.names, self._devices, strict=True):
            milliwatts = self._known(nvml.nvmlDeviceGetPowerUsage, device)
            limit = self._known(nvml.nvmlDeviceGetEnforcedPowerLimit, device)
            memory = self._known(nvml.nvmlDeviceGetMemoryInfo, device)
            reasons = self._known(self._reasons, device) or 0
            states.append(
                GpuState(
                    name=name,
                    graphics_mhz=self._known(nvml.nvmlDeviceGetClockInfo, device, nvml.NVML_CLOCK_SM),
                    memory_mhz=self._known(nvml.nvmlDeviceGetClockInfo, device, nvml.NVML_CLOCK_MEM),
                    celsius=self._known(nvml.nvmlDeviceGetTemperature, device, nvml.NVML_TEMPERATURE_GPU),
                    watts=None if milliwatts is None else milliwatts / 1e3,
                    limit_watts=None if limit is None else limit / 1e3,
                    used_bytes=None if memory is None else int(memory.used),
                    throttled=tuple(text for bit, text in THROTTLE_REASONS.items() if reasons & bit),
                )
            )
        return tuple(states)

    def joules(self, number: int) -> float | None:
        """The energy counter of a GPU since its driver was loaded; None: it has none (before Volta, and on a Jetson)."""
        millijoules = self._known(self._nvml.nvmlDeviceGetTotalEnergyConsumption, self._devices[number])
        return None if millijoules is None else millijoules / 1e3

    def own_bytes(self) -> int | None:
        """What this process holds on all GPUs; None: the driver does not tell, as inside some containers."""
        total, found = 0, False
        for device in self._devices:
            for process in self._known(self._nvml.nvmlDeviceGetComputeRunningProcesses, device) or ():
                if process.pid == os.getpid() and process.usedGpuMemory is not None:
                    total, found = total + int(process.usedGpuMemory), True
        return total if found else None

    def close(self) -> None:
        """Lets go of the library."""
        self._nvml.nvmlShutdown()

    def __enter__(self) -> "Nvml":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _reasons(self, device: object) -> int:
        ask = getattr(self._nvml, "nvmlDeviceGetCurrentClocksEventReasons", None)  # its name since driver 535
        return int((ask or self._nvml.nvmlDeviceGetCurrentClocksThrottleReasons)(device))

    def _known(self, ask: Callable[..., T], *arguments: object) -> T | None:
        """What NVML says; None where it says that it does not know, or its driver is older than the question."""
        try:
            return ask(*arguments)
        except self._nvml.NVMLError:
            return None


def _library() -> Any:
    try:
        import pynvml
    except ModuleNotFoundError as error:
        raise EngineError("nvml: got no Python package pynvml; pip install nvidia-ml-py") from error
    return pynvml


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
