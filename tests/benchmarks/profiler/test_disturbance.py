from dataclasses import replace

from glus_edge.benchmarks.profiler.disturbance import disturbances
from glus_edge.benchmarks.records.machine_state import MachineSample
from glus_edge.benchmarks.records.profile_record import ProfileRun, Yardstick
from tests.benchmarks.records.samples import QUIET, STATE, frame, run


def looks(own: float = 1.0, other: float | None = 0.0, throttled: tuple[str, ...] = (), mhz: float = 2600.0):
    return tuple(MachineSample(i / 4, i, own, other, mhz, None, throttled, None, None, {}, {}) for i in range(8))


def of(made: ProfileRun) -> tuple[str, ...]:
    return disturbances((made,), STATE, STATE, cores=2)


def test_a_quiet_run_is_not_disturbed() -> None:
    assert of(run(machine=looks())) == ()
    assert of(run(machine=looks(other=None))) == ()


def test_throttling_and_other_processes_are_said() -> None:
    (text,) = of(run(machine=(*looks()[:6], *looks(throttled=("H100: power cap",))[6:])))
    assert text == "window, 1 sentence: throttled in 25% of the time (H100: power cap)"
    (text,) = of(run(machine=looks(own=1.2, other=0.7)))
    assert "other processes took 0.7 of 2 cores; all were busy in 100% of the time" in text


def test_a_counter_of_throttling_that_rose_is_said() -> None:
    before, after = replace(STATE, throttle_counts={"cpu0 core": 3}), replace(STATE, throttle_counts={"cpu0 core": 5})
    assert disturbances((), before, after, cores=2) == ("throttled 2 times (cpu0 core)",)


def test_a_machine_that_drifts_or_is_robbed_is_said() -> None:
    drifting = tuple(Yardstick(block, 1.0 + 0.1 * block, 2.0) for block in range(6))
    (text,) = of(run(machine=looks(), yardsticks=drifting))
    assert "speed varied by" in text
    assert "(arithmetic)" in text
    (text,) = of(run((frame(counters=replace(QUIET, stolen_ms=20.0)),), machine=looks()))
    assert "the host took 20 ms" in text
    (text,) = of(run(machine=(*looks(), *looks(mhz=1300.0)[:1])))
    assert "cores slowed down from 2600 to 1300 MHz" in text
