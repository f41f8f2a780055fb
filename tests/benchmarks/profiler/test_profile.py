"""`glus-edge bench profile`: every scenario leaves a record that adds up. What it times is only asked to be there."""

import itertools
import json
from pathlib import Path

import pytest

from glus_edge.benchmarks.profiler.memory_slope import memory_slopes
from glus_edge.benchmarks.profiler.summary import latencies, summary
from glus_edge.benchmarks.records.profile_record import SCENARIOS, ProfileRecord
from glus_edge.benchmarks.records.record_io import read_profile
from glus_edge.runtime.bundle.signatures import GRAPHS
from glus_edge.runtime.cli import main
from tests.runtime import golden

pytestmark = pytest.mark.torch

RECORDS: dict[str, ProfileRecord] = {}


@pytest.fixture(params=tuple(SCENARIOS))
def record(
    request: pytest.FixtureRequest, golden_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> ProfileRecord:
    """A short profile of each scenario, made once."""
    scenario: str = request.param
    if scenario not in RECORDS:
        path = tmp_path_factory.mktemp("profile") / "r.json"
        short = ["--frames", 24, "--clip-frames", 8, "--seconds", 0.5, "--maximum-streams", 2, "--video", golden.FRAMES]
        words = ["bench", "profile", "--scenario", scenario, "--bundle", golden_bundle, *short, "--output", path]
        assert main([*map(str, words), "--trace", str(path.with_suffix(".trace"))]) == 0
        RECORDS[scenario] = read_profile(path)
        events = json.loads(path.with_suffix(".trace").read_text())["traceEvents"]
        threads = {event["args"]["name"] for event in events if event["name"] == "thread_name"}
        assert "MainThread" in threads
        assert ("glus-edge-ahead" in threads) == (scenario in ("server", "offline"))
        names = {event["name"] for event in events}
        assert {"run image_encoder", "image_encoder", "own cores"} <= names
    return RECORDS[scenario]


def test_a_record_says_what_ran_where(record: ProfileRecord, golden_bundle: Path) -> None:
    assert record.command_line[:3] == ("glus-edge", "bench", "profile")
    assert set(record.bundle.compute) == set(GRAPHS) == set(record.opened_bytes)
    assert set(record.bundle.graphs_sha256) >= {f"{graph}.onnx" for graph in GRAPHS}
    assert record.before.time <= record.after.time
    assert record.environment.packages["onnxruntime"]
    assert record.engine.backend == "onnxruntime"
    assert bool(record.runs[0].energy) == (not record.energy_absent) or record.energy_absent


def test_every_frame_has_its_stages_and_calls_within_it(record: ProfileRecord) -> None:
    (run,) = record.runs
    assert run.frames or run.sources == 0
    for frame in run.frames:
        assert frame.arrived_s <= frame.started_s <= frame.finished_s
        assert frame.asked
        assert frame.segmented
        assert {"image_encoder", "mask_decoder", "masks"} <= set(frame.stages_ms())
        assert {"image_encoder", "mask_decoder"} <= {call.graph for call in frame.calls}
        ends = [span.begin_ms + span.ms for span in frame.stages]
        assert all(span.begin_ms >= 0 for span in frame.stages)
        assert all(end <= span.begin_ms + 1e-6 for end, span in zip(ends, frame.stages[1:], strict=False))
        assert max(ends) <= frame.work_ms + 1e-6
        assert frame.counters.cpu_ms >= 0


def test_scenarios_measure_what_their_names_say(record: ProfileRecord) -> None:
    (run,) = record.runs
    frames, figures = run.frames, summary(run)
    if run.scenario == "single":
        assert [frame.index for frame in frames] == list(range(24))
        assert all(frame.arrived_s == frame.started_s for frame in frames)
        assert [frame.block for frame in frames] == [0] * 12 + [1] * 12
    if run.scenario in ("server", "offline"):
        assert [(frame.stream, frame.index) for frame in frames] == list(itertools.product(range(3), range(8)))
        assert len(latencies(run)) == (3 if run.scenario == "server" else 24)
    if run.scenario == "server":
        assert len({frame.arrived_s for frame in frames}) == 3
        assert run.rate is not None
    if run.scenario == "live":
        (count,) = run.counts
        assert count.sent == round(0.5 * (run.rate or 0)) == count.answered + count.skipped
        assert count.answered == len(frames)
        assert figures.sent == count.sent
    if run.scenario == "streams":
        assert run.trials[0].streams == 1
        verifying = [trial for trial in run.trials if trial.verifies]
        if run.sources:
            assert [trial.streams for trial in verifying[-5:]] == [run.sources] * 5
            assert all(trial.skipped <= 0.01 * trial.sent for trial in verifying[-5:])
        assert figures.streams == run.sources <= 2


def test_memory_is_known_by_owner(record: ProfileRecord) -> None:
    (run,) = record.runs
    owners = {owner for sample in run.machine for owner in sample.owners}
    assert "other" not in owners  # every file of the runtime that allocates stands for an owner
    if run.machine:
        assert {"key/value cache", "memory slots", "image features", "image tokens"} <= owners
    assert all(slope.peak_bytes > 0 for slope in memory_slopes(run.machine))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--frames", 0], "--frames: got 0, expected 1 to 10000000"),
        (["--seconds", "nan"], "--seconds: got nan, expected a number above 0"),
        (["--seconds", "1e9"], "--seconds: got 1e+09, expected at most 86400"),
        (["--rate", 0], "--rate: got 0, expected a number above 0"),
        (["--idle-seconds", -1], "--idle-seconds: got -1"),
        (["--policy", "other"], "--policy: got 'other'"),
        (["--trace", "nowhere/t.json"], "nowhere/t.json: cannot be written"),
        (["--output", "nowhere/r.json"], "nowhere/r.json: cannot be written"),
        (["--video", "nowhere.mp4"], "nowhere.mp4: no such file"),
    ],
)
def test_a_wrong_argument_is_one_line(
    golden_bundle: Path, capsys: pytest.CaptureFixture[str], arguments: list[object], message: str
) -> None:
    assert main(["bench", "profile", "--bundle", str(golden_bundle), *map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_contenders_take_turns_and_what_is_doubtful_is_printed_first(
    golden_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "r.json"
    words = ["--policy", "window,exact", "--frames", 24, "--video", golden.FRAMES, "--output", path]
    assert main(["bench", "profile", "--bundle", str(golden_bundle), *map(str, words)]) == 0
    record = read_profile(path)
    first, second = record.runs
    assert (first.name, second.name) == ("window, 1 sentence", "exact, 1 sentence")
    blocks = sorted((run.started_s + run.frames[12 * b].started_s, run.name) for run in record.runs for b in range(2))
    assert [name for _, name in blocks] == [second.name, first.name, first.name, second.name]
    lines = capsys.readouterr().out.splitlines()
    assert lines[: len(record.disturbances)] == [f"DISTURBED: {text}" for text in record.disturbances]
    assert lines.count("slowest frames:") == 2
