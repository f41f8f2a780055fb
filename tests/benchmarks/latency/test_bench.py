"""`glus-edge bench`: what it counts is right on paper; what it times is only asked to be there."""

import json
from itertools import islice

import pytest

from glus_edge.benchmarks.instruments.bench_video import bench_sentences
from glus_edge.benchmarks.instruments.environment import environment
from glus_edge.benchmarks.instruments.peak import MachinePeak
from glus_edge.benchmarks.instruments.statistics import Timing, ratio, timing
from glus_edge.benchmarks.latency.bench_command import MAXIMUM_SENTENCES
from glus_edge.benchmarks.latency.bench_table import table
from glus_edge.benchmarks.latency.measurement import MemoryUse
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.cli import main
from glus_edge.runtime.language.conversation import Conversation
from tests.runtime import golden

pytestmark = pytest.mark.torch

CHECKPOINT = ["--checkpoint", golden.GOLDEN / "checkpoint", "--vision-tower", golden.GOLDEN / "clip"]
SAM2 = ["--sam2-config", golden.GOLDEN / "sam2.yaml"]


def bench(*arguments):
    return main(["bench", "latency", *map(str, arguments)])


@pytest.fixture(scope="module")
def record(golden_bundle, tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "r.json"
    options = ["--sentences", "1,2", "--frames", 9, "--output", path, "--video", golden.FRAMES]
    assert bench("--bundle", golden_bundle, "--baseline", "reference", *CHECKPOINT, *SAM2, *options) == 0
    return json.loads(path.read_text())


def by_key(record):
    return {(result["policy"], result["sentences"]): result for result in record["rows"]}


def test_every_contender_runs_the_same_frames_and_the_warm_up_is_not_counted(record):
    results = by_key(record)
    assert list(results) == [("reference", 1), *((p, n) for p in ("exact", "window", "rolling") for n in (1, 2))]
    for result in results.values():
        assert (result["frames"], result["warm_up_frames"]) == (12, 24)  # measured in blocks of twelve
        assert result["segmented"] == 1.0
        assert 0 < result["frame_ms"]["p50"] <= result["frame_ms"]["p90"] <= result["frame_ms"]["p99"]
        assert result["frames_per_second"] == pytest.approx(1e3 / result["frame_ms"]["mean"])


def test_tokens_and_calls_are_those_on_paper(record, golden_bundle):
    bundle = Bundle.open(golden_bundle)
    tokens = bundle.manifest.model.image_tokens
    conversation = Conversation(bench_sentences(1)[0], bundle.manifest.prompt, bundle.tokenizer(), 4)
    rows = [conversation.text(turns).row_count(tokens) for turns in range(4)]
    prefix = conversation.text(0).row_count(tokens) - tokens - len(conversation.text(0).pieces[-1])
    # An open turn ends with a piece that [SEG] replaces once it is answered: one row more than a turn has.
    wanted = {"exact": rows[3] - prefix, "window": (rows[3] - prefix + 3) / 4, "rolling": rows[3] - rows[2] + 1}
    for (policy, sentences), result in by_key(record).items():
        if policy == "reference":
            assert result["work"] is None
            continue
        calls = result["work"]["calls"]
        assert calls.pop("clip_encoder") <= 1.0  # context frames' tokens are held
        assert calls == dict.fromkeys(calls, 1.0)
        assert len(calls) == 5
        if sentences == 1:
            assert result["work"]["tokens_prefilled"] == wanted[policy]


def test_work_and_shares_are_consistent(record):
    peak = record["peak"]
    for result in record["rows"][1:]:
        seconds, work, share = 1 / result["frames_per_second"], result["work"], result["peak_share"]
        assert share["flops"] == pytest.approx(work["flops"] / seconds / peak["flops_per_second"])
        moved = work["weight_bytes"] + work["tensor_bytes"]
        assert share["bytes"] == pytest.approx(moved / seconds / peak["bytes_per_second"])
        assert share["floor_ms"] == pytest.approx(1e3 * seconds * max(share["flops"], share["bytes"]))


def test_exact_draws_the_baselines_masks_and_ratios_are_rounds(record):
    results = by_key(record)
    assert results["exact", 1]["agreement"] >= 0.999
    assert results["exact", 2]["agreement"] >= 0.999
    assert results["window", 1]["agreement"] < 0.999
    for result in record["rows"][1:]:
        against = result["against_baseline"]
        assert against["rounds"] == 1
        assert 0 < against["minimum"] <= against["median"] <= against["maximum"]
        assert (result["against_one_sentence"] is None) == (result["sentences"] == 1)


def test_the_record_says_where_and_how_much_memory(record):
    assert record["environment"]["packages"]["torch"]
    assert record["environment"]["processor"]["name"]
    memory = record["memory"]
    assert 0 < memory["opened"] <= memory["peak"]
    assert memory["baseline_peak"] > 0


def test_a_soak_watches_memory(golden_bundle, tmp_path, capsys):
    path = tmp_path / "r.json"
    options = ["--policy", "window", "--sentences", "1", "--soak", 250, "--output", path, "--video", golden.FRAMES]
    code = bench("--bundle", golden_bundle, *options)
    soak = json.loads(path.read_text())["rows"][0]
    assert (soak["resident"][0][0], soak["resident"][-1][0]) == (100, 250)
    sizes = [size for _, size in soak["resident"]]
    assert soak["growth"] == pytest.approx(max(sizes) / sizes[0] - 1)
    assert code == int(soak["growth"] >= 0.01)
    assert "250 frames" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy", "exact,other"], "--policy: got 'other'"),
        (["--sentences", "0"], "--sentences: got '0'"),
        (["--sentences", "x"], "--sentences: got 'x'"),
        (["--sentences", MAXIMUM_SENTENCES + 1], "expected numbers from 1 to"),
        (["--frames", 0], "--frames: got 0"),
        (["--output", "nowhere/r.json"], "nowhere/r.json: cannot be written"),
        (["--soak", 10], "--soak: got 10 frames, expected at least 200"),
        (["--baseline", "reference"], "--baseline reference: got no --checkpoint"),
        (["--sam2-config", "x"], "--sam2-config: got one without --baseline"),
        (["--video", "nowhere.mp4"], "nowhere.mp4: no such file"),
        (["--baseline", "reference", *CHECKPOINT, "--sam2-config", "none.yaml"], "none.yaml: is neither"),
    ],
)
def test_a_wrong_argument_is_one_line(golden_bundle, capsys, arguments, message):
    assert bench("--bundle", golden_bundle, "--policy", "exact", "--sentences", 1, "--frames", 1, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_table_says_what_the_peak_is_of(dtype):
    peak = MachinePeak(dtype, flops_per_second=2e12, bytes_per_second=3e11)
    _, line, *_ = islice(table([], MemoryUse(None, None, None, 0, None), peak, environment(1)), 2)
    assert line == f"peak here: 2000 GFLOP/s ({dtype} product), 300.0 GB/s (copy)"


def test_percentiles_and_ratios():
    assert timing(list(range(101))) == Timing(50.0, 90.0, 99.0, 50.0)
    against = ratio([10.0, 12.0, 8.0], [2.0, 2.0, 4.0])
    assert (against.median, against.minimum, against.maximum, against.rounds) == (5.0, 2.0, 6.0, 3)
