import numpy as np
import pytest

from glus_edge.benchmarks.profiler.memory_slope import RESIDENT, REST, leaking, memory_slope, memory_slopes
from glus_edge.benchmarks.records.machine_state import MachineSample

FRAMES = np.arange(0, 2001, 10)
LEAK = 1e6 / 100  # bytes a frame


def noisy(seed: int, slope: float) -> list[tuple[int, int]]:
    """300 MB that fill in 200 frames, with the steps and jitter of an allocator, and a leak."""
    random = np.random.default_rng(seed)
    filling = 40e6 * np.minimum(1, FRAMES / 200)
    steps = 2**18 * random.integers(-2, 3, len(FRAMES))
    spikes = np.where(random.random(len(FRAMES)) < 0.03, 20e6, 0)
    sizes = 260e6 + filling + steps + spikes + slope * FRAMES
    return [(int(frame), int(size)) for frame, size in zip(FRAMES, sizes, strict=True)]


@pytest.mark.parametrize("seed", range(20))
def test_a_megabyte_in_a_hundred_frames_is_found_within_two_thousand(seed: int) -> None:
    found = memory_slope("x", noisy(seed, LEAK))
    assert found is not None
    assert found.leaks
    assert found.bytes_a_frame == pytest.approx(LEAK, rel=0.2)


@pytest.mark.parametrize("seed", range(20))
def test_memory_that_is_filled_and_stays_is_no_leak(seed: int) -> None:
    found = memory_slope("x", noisy(seed, 0.0))
    assert found is not None
    assert not found.leaks


def test_one_step_late_in_the_run_is_no_leak() -> None:
    sizes = [(int(frame), 300_000_000 + 30_000_000 * int(frame > 1000)) for frame in FRAMES]
    found = memory_slope("x", sizes)
    assert found is not None
    assert not found.leaks


def test_too_few_sizes_tell_nothing() -> None:
    assert memory_slope("x", []) is None
    assert memory_slope("x", [(0, 1), (100, 2)]) is None
    assert memory_slope("x", [(5, 1)] * 50) is None


def samples(owned: float, resident: float) -> list[MachineSample]:
    return [
        MachineSample(
            frame / 40, int(frame), 1.0, None, None, None, (), int(3e8 + resident * frame), None,
            {"queue": int(1e6 + owned * frame)}, {},
        )
        for frame in FRAMES
    ]  # fmt: skip


def test_the_owner_that_leaks_is_named_and_memory_without_an_owner_is_the_rest() -> None:
    slopes = memory_slopes(samples(LEAK, LEAK))
    assert [slope.owner for slope in slopes] == [RESIDENT, "queue"]
    assert set(leaking(slopes)) == {"queue"}
    assert set(leaking(memory_slopes(samples(0.0, LEAK)))) == {REST}
    assert leaking(memory_slopes(samples(0.0, 0.0))) == {}
