from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from glus_edge.benchmarks.profiler.comparison import (
    EQUAL,
    FASTER,
    LATENCY,
    SLOWER,
    UNDECIDED,
    block_times,
    compare_runs,
    noise_floor,
)
from glus_edge.benchmarks.records.profile_record import ProfileRun, Yardstick
from glus_edge.benchmarks.records.record_io import write_profile
from glus_edge.runtime.cli import main
from tests.benchmarks.records.samples import frame, record, run

STAGES = {"language_model": 6.0, "image_encoder": 10.0, "memory_attention": 2.0, "mask_decoder": 1.5}


def noisy(seed: int, *, slower: dict[str, float] | None = None, drift: float = 1.0, shared: int = 0) -> ProfileRun:
    """20 blocks. `shared`: seed of what slows both of two runs in turns; each frame has noise of its own, and spikes."""
    own, common = np.random.default_rng(seed), np.random.default_rng(shared)
    speed = drift * np.exp(common.normal(0, 0.15, 20))
    frames = []
    for number in range(240):
        spike = 1 + (own.exponential(2.0) if own.random() < 0.1 else 0.0)
        stages = {
            name: ms * (slower or {}).get(name, 1.0) * speed[number // 12] * spike * np.exp(own.normal(0, 0.03))
            for name, ms in STAGES.items()
        }
        frames.append(frame(number, stages, block=number // 12))
    yardsticks = tuple(Yardstick(block, float(speed[block]), 2.0 * float(speed[block])) for block in range(20))
    return run(tuple(frames), yardsticks=yardsticks)


@pytest.mark.parametrize("seed", range(20))
def test_a_tenth_in_one_stage_is_found_and_named(seed: int) -> None:
    stage = list(STAGES)[seed % len(STAGES)]
    first = noisy(2 * seed, shared=seed)
    second = noisy(2 * seed + 1, shared=seed, slower={stage: 1.1})
    found = compare_runs(first, second, paired=True)
    assert [each.stage for each in found.stages if each.verdict == SLOWER and each.stage != LATENCY] == [stage]
    named = next(each for each in found.stages if each.stage == stage)
    assert named.low < 0.1 < named.high or named.change == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize("seed", range(20))
def test_the_same_twice_is_equal(seed: int) -> None:
    found = compare_runs(noisy(2 * seed, shared=seed), noisy(2 * seed + 1, shared=seed), paired=True)
    assert {each.verdict for each in found.stages} == {EQUAL}


@pytest.mark.parametrize("drift", [0.8, 1.0, 1.25])
def test_a_machine_that_was_slower_the_second_time_is_no_regression(drift: float) -> None:
    first, second = noisy(1, shared=1), noisy(2, shared=2, drift=drift)
    found = compare_runs(first, second, paired=False)
    assert not found.regressions(0.0)
    assert found.floor >= abs(np.log(drift)) - 0.1
    assert {each.verdict for each in found.stages} <= {EQUAL, UNDECIDED}


def test_runs_apart_show_what_is_beyond_their_noise() -> None:
    first, second = noisy(1, shared=3), noisy(2, shared=3, slower={"image_encoder": 2.0})
    found = compare_runs(first, second, paired=False)
    (latency, *_) = found.stages
    assert latency.stage == LATENCY
    assert {each.stage for each in found.regressions(0.05)} >= {"image_encoder"}
    assert {each.verdict for each in compare_runs(second, first, paired=False).stages} >= {FASTER}
    assert noise_floor(first, second) == noise_floor(second, first)


def test_a_run_without_turns_is_cut_into_blocks() -> None:
    live = run(tuple(frame(number) for number in range(70)), scenario="live")
    assert len(block_times(live)[LATENCY]) == 5
    with pytest.raises(ValueError, match="got 2 blocks of 12 frames, expected at least 5"):
        compare_runs(run(), run(), paired=True)


def written(folder: Path, name: str, *runs: ProfileRun, **changes: object) -> str:
    write_profile(folder / name, record(*runs, **changes))
    return str(folder / name)


def test_the_command_says_what_regressed_and_ends_with_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = written(tmp_path, "a.json", noisy(1, shared=3), disturbances=("other processes",))
    slow = written(tmp_path, "b.json", noisy(2, shared=3, slower={"image_encoder": 2.0}))
    same = written(tmp_path, "c.json", noisy(4, shared=3))
    assert main(["bench", "compare", first, slow]) == 1
    out = capsys.readouterr().out
    assert out.startswith("a.json was DISTURBED: other processes\n")
    assert "REGRESSION: window, 1 sentence: image_encoder takes" in out
    assert main(["bench", "compare", first, slow, "--tolerate", "200"]) == 0
    assert main(["bench", "compare", first, same]) == 0
    assert main(["bench", "compare", first, same, slow]) == 1
    table = capsys.readouterr().out.splitlines()
    assert sum("no. 2, ms" in line and "no. 3, ms" in line for line in table) == 1


def test_runs_of_one_record_that_took_turns_are_compared_in_pairs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exact = replace(noisy(2, shared=1, slower={"language_model": 1.3}), name="exact, 1 sentence")
    assert main(["bench", "compare", written(tmp_path, "a.json", noisy(1, shared=1), exact)]) == 1
    out = capsys.readouterr().out
    assert "exact, 1 sentence: measured in turns, noise floor 0.5%" in out
    assert "REGRESSION: exact, 1 sentence: language_model" in out


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["one.json"], "got one record with 1 runs of single, expected two records"),
        (["one.json", "live.json"], "expected single window, 1 sentence as in"),
        (["short.json", "short.json"], "got 2 blocks of 12 frames, expected at least 5; measure more --frames"),
        (["one.json", "one.json", "--tolerate", "-1"], "--tolerate: got -1, expected 0 or more"),
        (["one.json", "none.json"], "none.json: cannot be read"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], names: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "one.json", noisy(1))
    written(tmp_path, "live.json", replace(noisy(1), scenario="live"))
    written(tmp_path, "short.json", run())
    assert main(["bench", "compare", *names]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
