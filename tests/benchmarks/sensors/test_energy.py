"""Energy from recorded counters and rails: what was recorded is what is reported, and what is missing stays missing."""

import shutil
import stat
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from glus_edge.benchmarks.sensors import energy
from glus_edge.benchmarks.sensors.energy import CounterMeter, EnergyMeters, PowerIntegral, energy_meters
from glus_edge.benchmarks.sensors.jetson_power import ina_rails, rail_watts
from glus_edge.benchmarks.sensors.nvml import Nvml
from glus_edge.runtime.errors import EngineError

ORIN_NANO = (
    "07-14-2025 10:29:36 RAM 2147/7620MB (lfb 2x4MB) SWAP 1476/3810MB (cached 1MB) "
    "CPU [0%@729,0%@729,0%@729,0%@729,0%@729,0%@729] GR3D_FREQ 0% cpu@47.687C soc2@46.718C soc0@47.468C gpu@48.625C "
    "tj@48.625C soc1@48.25C VDD_IN 4556mW/4556mW VDD_CPU_GPU_CV 483mW/483mW VDD_SOC 1451mW/1451mW\n"
)
AGX_ORIN = (
    "RAM 4023/30536MB (lfb 5555x4MB) SWAP 0/15268MB (cached 0MB) CPU [100%@2201,100%@2201] EMC_FREQ 1%@2133 "
    "GR3D_FREQ 14%@[407,407] CV0@73.625C CPU@77.281C tj@77.281C VDD_GPU_SOC 3150mW/2971mW VDD_CPU_CV 14312mW/12415mW "
    "VIN_SYS_5V0 4968mW/5048mW VDDQ_VDD2_1V8AO 1091mW/1091mW\n"
)
NANO = (
    "RAM 1655/3956MB (lfb 311x4MB) SWAP 0/1978MB (cached 0MB) IRAM 0/252kB(lfb 252kB) CPU [14%@204,14%@204,10%@204,"
    "11%@204] EMC_FREQ 3%@1600 GR3D_FREQ 16%@76 APE 25 PLL@36C CPU@39C PMIC@50C GPU@37C AO@47C thermal@38C "
    "POM_5V_IN 2247/2189 POM_5V_GPU 78/78 POM_5V_CPU 275/275\n"
)


class NvmlError(Exception):
    """As pynvml raises it."""


def nvml_library(millijoules: list[int], **changes: object) -> ModuleType:
    """pynvml with one GPU: its energy counter as it was read, one value a call; the last one stays."""

    def energy(device: str) -> int:
        return millijoules.pop(0) if len(millijoules) > 1 else millijoules[0]

    def unknown(*_: object) -> None:
        raise NvmlError("Not Supported")

    answers = {
        "NVMLError": NvmlError,
        "NVML_CLOCK_SM": 1,
        "NVML_CLOCK_MEM": 2,
        "NVML_TEMPERATURE_GPU": 0,
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda number: f"gpu {number}",
        "nvmlDeviceGetName": lambda device: b"NVIDIA H100 80GB HBM3",
        "nvmlSystemGetDriverVersion": lambda: "570.86.15",
        "nvmlDeviceGetPowerUsage": lambda device: 118_402,
        "nvmlDeviceGetEnforcedPowerLimit": lambda device: 700_000,
        "nvmlDeviceGetMemoryInfo": lambda device: SimpleNamespace(used=1 << 30),
        "nvmlDeviceGetClockInfo": lambda device, clock: {1: 1980, 2: 2619}[clock],
        "nvmlDeviceGetTemperature": lambda device, sensor: 41,
        "nvmlDeviceGetCurrentClocksEventReasons": lambda device: 0x1 | 0x4 | 0x40,
        "nvmlDeviceGetTotalEnergyConsumption": energy,
        "nvmlDeviceGetComputeRunningProcesses": unknown,
    }
    library = ModuleType("pynvml")
    library.__dict__.update(answers | changes)
    return library


def only_nvml(nvml: Nvml | str, folder: Path) -> EnergyMeters:
    return energy_meters(nvml, hwmon=folder / "none", powercap=folder / "none")


def test_a_gpus_counter_in_millijoules_becomes_joules(tmp_path: Path) -> None:
    # The first value is asked for to see whether there is a counter, the second begins the measurement.
    recorded = [81_234_000, 81_234_117, 81_234_117, 81_241_500, 81_312_884]
    with Nvml(nvml_library(recorded)) as nvml, only_nvml(nvml, tmp_path) as meters:
        name = "nvml: NVIDIA H100 80GB HBM3"
        before, middle, after = (meters.joules()[name] for _ in range(3))
    assert middle - before == pytest.approx(7.383)
    assert after - before == pytest.approx(78.767)
    assert meters.meters[0].counter


def test_a_gpu_says_its_clocks_and_what_holds_them_down() -> None:
    (state,) = Nvml(nvml_library([0])).states()
    assert (state.graphics_mhz, state.memory_mhz, state.celsius) == (1980, 2619, 41)
    assert (state.watts, state.limit_watts, state.used_bytes) == (118.402, 700.0, 1 << 30)
    assert state.throttled == ("power cap", "temperature, by hardware")  # idleness is none


def test_what_a_gpu_does_not_know_is_absent(tmp_path: Path) -> None:
    def unknown(*_: object) -> None:
        raise NvmlError("Not Supported")

    nvml = Nvml(nvml_library([0], nvmlDeviceGetTotalEnergyConsumption=unknown, nvmlDeviceGetPowerUsage=unknown))
    meters = only_nvml(nvml, tmp_path)
    assert (meters.meters, meters.joules()) == ([], {})
    assert "nvml: a GPU without an energy counter" in meters.absent[0]
    assert nvml.states()[0].watts is None


def test_without_a_driver_the_reason_is_said() -> None:
    def missing() -> None:
        raise NvmlError("NVML Shared Library Not Found")

    with pytest.raises(EngineError, match="nvml: NVML Shared Library Not Found, expected an NVIDIA driver"):
        Nvml(nvml_library([0], nvmlInit=missing))


@pytest.mark.parametrize(
    ("line", "rails"),
    [
        (ORIN_NANO, {"VDD_IN": 4.556, "VDD_CPU_GPU_CV": 0.483, "VDD_SOC": 1.451}),
        (
            AGX_ORIN,
            {"VDD_GPU_SOC": 3.15, "VDD_CPU_CV": 14.312, "VIN_SYS_5V0": 4.968, "VDDQ_VDD2_1V8AO": 1.091},
        ),
        (NANO, {"POM_5V_IN": 2.247, "POM_5V_GPU": 0.078, "POM_5V_CPU": 0.275}),
        ("RAM 1488/7620MB (lfb 105x4MB) SWAP 253/12002MB CPU [0%@1036]", {}),
        ("", {}),
    ],
)
def test_the_rails_of_a_line_of_tegrastats_are_read_at_their_present_power(line: str, rails: dict[str, float]) -> None:
    assert rail_watts(line) == pytest.approx(rails)


def write_chip(folder: Path, rails: dict[int, tuple[str, int, int]], name: str = "ina3221") -> None:
    """A chip under hwmon: of each channel its label, millivolts and milliamperes."""
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    for channel, (label, millivolts, milliamperes) in rails.items():
        (folder / f"in{channel}_label").write_text(f"{label}\n")
        (folder / f"in{channel}_input").write_text(f"{millivolts}\n")
        (folder / f"curr{channel}_input").write_text(f"{milliamperes}\n")


def test_ina_rails_are_volts_times_amperes(tmp_path: Path) -> None:
    write_chip(tmp_path / "hwmon3", {1: ("VDD_GPU_SOC", 843, 6170), 3: ("VIN_SYS_5V0", 4968, 953)})
    write_chip(tmp_path / "hwmon4", {1: ("NC", 0, 0), 2: ("VDDQ_VDD2_1V8AO", 1800, 341)})
    write_chip(tmp_path / "hwmon5", {1: ("VDD_IN", 5000, 1000)}, name="pwmfan")
    (tmp_path / "hwmon3" / "in7_label").write_text("sum of shunt voltages\n")
    watts = {rail.name: rail.watts() for rail in ina_rails(tmp_path)}
    assert watts == pytest.approx({"VDD_GPU_SOC": 5.20131, "VIN_SYS_5V0": 4.734504, "VDDQ_VDD2_1V8AO": 0.6138})


def test_sampled_power_is_integrated(tmp_path: Path) -> None:
    write_chip(tmp_path / "hwmon1", {1: ("VDD_IN", 5000, 1000)})  # 5 W
    with energy_meters("nvml: none", hwmon=tmp_path, powercap=tmp_path / "none") as meters:
        (meter,) = meters.meters
        assert (meter.source, meter.counter) == ("ina3221: VDD_IN", False)
        begin, joules = time.perf_counter(), 0.0
        while (joules := meter.joules()) < 1.0:
            assert time.perf_counter() - begin < 30, joules
            time.sleep(0.02)
        elapsed = time.perf_counter() - begin
    assert joules <= 5.0 * (elapsed + 1.0)
    assert meters.absent == ("nvml: none", f"rapl: no energy counter under {tmp_path / 'none'}")


def test_the_trapezoidal_rule_leaves_out_what_nobody_saw() -> None:
    integral = PowerIntegral()
    for at, watts in ((0.0, 4.0), (1.0, 6.0), (1.5, 6.0), (60.0, 6.0), (61.0, 8.0)):
        integral.add(at, watts)
    assert integral.joules == pytest.approx(5.0 + 3.0 + 7.0)
    assert integral.gaps == 1


def test_a_counter_that_wraps_around_goes_on() -> None:
    values = iter([262_000.0, 262_100.0, 43.0, 50.0])
    meter = CounterMeter("rapl: package-0", lambda: next(values), wraps_at=262_143.0)
    assert [meter.joules() for _ in range(3)] == pytest.approx([100.0, 186.0, 193.0])


def test_rapl_counts_microjoules_by_zone(tmp_path: Path) -> None:
    zone = tmp_path / "intel-rapl:0"
    zone.mkdir()
    for name, text in (("name", "package-0"), ("max_energy_range_uj", "262143328850"), ("energy_uj", "1000000")):
        (zone / name).write_text(f"{text}\n")
    meters = energy_meters("nvml: none", hwmon=tmp_path / "none", powercap=tmp_path)
    (zone / "energy_uj").write_text("3500000\n")
    assert meters.joules() == {"rapl: package-0 (intel-rapl:0)": pytest.approx(2.5)}


def test_tegrastats_is_read_where_sysfs_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "tegrastats"
    program.write_text(f"#!/bin/sh\nwhile :; do cat {tmp_path}/line; sleep 0.05; done\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "line").write_text(ORIN_NANO)
    monkeypatch.setattr(shutil, "which", lambda name: str(program) if name == "tegrastats" else None)
    with energy_meters("nvml: none", hwmon=tmp_path / "none", powercap=tmp_path / "none") as meters:
        assert {meter.source for meter in meters.meters} == {
            "tegrastats: VDD_IN",
            "tegrastats: VDD_CPU_GPU_CV",
            "tegrastats: VDD_SOC",
        }
        begin = time.perf_counter()
        while (joules := meters.joules())["tegrastats: VDD_IN"] < 0.5:
            assert time.perf_counter() - begin < 30, joules
            time.sleep(0.02)
    (tmp_path / "line").write_text("RAM 1488/7620MB\n")
    silent = energy_meters("nvml: none", hwmon=tmp_path / "none", powercap=tmp_path / "none")
    assert silent.meters == []
    assert "tegrastats: names no power rail" in silent.absent[1]
    assert energy.SAMPLE_S == 0.1
