import time
from pathlib import Path

import pytest

from glus_edge.benchmarks.sensors.machine_watch import (
    MachineWatch,
    celsius,
    core_mhz,
    machine_state,
    throttle_counts,
)
from glus_edge.benchmarks.sensors.process_counters import ProcessCounters, stat_ticks, throttled_ms


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_systems_files_are_read(tmp_path: Path) -> None:
    for core, khz in ((0, 2_000_000), (1, 3_500_000)):
        write(tmp_path / f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq", f"{khz}\n")
        write(tmp_path / f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor", "performance\n")
        write(tmp_path / f"sys/devices/system/cpu/cpu{core}/thermal_throttle/core_throttle_count", f"{core}\n")
    write(tmp_path / "sys/class/thermal/thermal_zone0/temp", "47687\n")
    write(tmp_path / "sys/class/thermal/thermal_zone0/type", "cpu-thermal\n")
    write(tmp_path / "sys/class/thermal/thermal_zone1/temp", "-256000\n")  # a zone that is switched off
    write(tmp_path / "sys/class/hwmon/hwmon1/oc3_event_cnt", "4\n")
    write(tmp_path / "sys/firmware/acpi/platform_profile", "balanced\n")
    assert core_mhz(tmp_path) == (2000.0, 3500.0)
    assert celsius(tmp_path) == {"thermal_zone0 cpu-thermal": 47.687}
    assert throttle_counts(tmp_path) == {
        "cpu0 core_throttle_count": 0,
        "cpu1 core_throttle_count": 1,
        "hwmon1 oc3_event_cnt": 4,
    }
    state = machine_state(None, tmp_path)
    assert (state.governors, state.power_mode, state.gpus) == (("performance",), "balanced", ())


def test_clocks_are_read_from_cpuinfo_where_nothing_else_says_them(tmp_path: Path) -> None:
    write(tmp_path / "proc/cpuinfo", "processor\t: 0\ncpu MHz\t\t: 2596.122\nprocessor\t: 1\ncpu MHz\t\t: 2600\n")
    assert core_mhz(tmp_path) == (2596.122, 2600.0)


def test_a_machine_that_tells_nothing_is_not_guessed_about(tmp_path: Path) -> None:
    state = machine_state(None, tmp_path)
    assert (state.core_mhz, state.celsius, state.throttle_counts, state.power_mode) == ((), {}, {}, None)


def test_ticks_and_quota_are_read_and_what_is_none_of_them_is_not() -> None:
    ticks = stat_ticks("cpu  587422 65237 71475 143506 1361 0 473 1099 0 0\ncpu0 1 2 3\n")
    assert (ticks["user"], ticks["idle"], ticks["steal"]) == (587422, 143506, 1099)
    for text in ("", "cpu  1 2 3\n", "intr 5\n", "cpu a b c d e f g h\n"):
        assert stat_ticks(text) == {}
    assert throttled_ms("usage_usec 5\nnr_throttled 2\nthrottled_usec 12500\n") == 12.5
    assert throttled_ms("usage_usec 5\n") is None


def test_processor_time_of_this_process_is_counted() -> None:
    counters = ProcessCounters()
    before = counters.read()
    begin = time.process_time()
    while time.process_time() - begin < 0.05:
        pass
    counters.gc_ms += 3.0
    spent = counters.read().since(before)
    counters.close()
    assert spent.cpu_ms >= 50
    assert spent.gc_ms == 3.0
    assert spent.preemptions >= 0


def test_a_watch_samples_owners_power_and_progress() -> None:
    joules = iter(range(0, 1000, 5))
    with MachineWatch(None, lambda: {"queue": 7}, lambda: {"rail": float(next(joules))}, lambda: 3, 0.01) as watch:
        begin = time.perf_counter()
        while len(watch.all()) < 3:
            assert time.perf_counter() - begin < 30
            time.sleep(0.01)
    samples = watch.samples(begin, time.perf_counter())
    assert all(sample.owners == {"queue": 7} and sample.frames == 3 for sample in samples)
    assert all(sample.watts["rail"] > 0 for sample in samples)
    assert samples[0].at_s == pytest.approx(watch.all()[0][0] - begin)
    assert watch.samples(begin - 2, begin - 1) == ()
