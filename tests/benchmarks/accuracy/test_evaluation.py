"""`glus-edge evaluate` on the golden clip, whose true masks are those the reference predicted."""

import json

import numpy as np
import pytest

from glus_edge.benchmarks.accuracy.agreement import Pair, agreement
from glus_edge.benchmarks.accuracy.bootstrap import paired_bootstrap
from glus_edge.benchmarks.accuracy.evaluation import EvaluationRules, SentenceScore, evaluate, summary
from glus_edge.benchmarks.datasets.open_dataset import open_dataset
from glus_edge.runtime.cli import main
from glus_edge.runtime.segmenter import Segmenter
from tests.benchmarks.mevis_folder import write_mevis
from tests.runtime import golden

# A record with one sentence; its J&F is to be filled in.
RECORD = '{"format": "glus-edge evaluation", "scores": [{"video": "v", "sentence": "0", "kind": "", "j_and_f": %s}]}'


def score(kind, region, boundary, empty=0.0):
    return SentenceScore("v", "0", "a thing", kind, 4, region, boundary, empty, 100.0, 100.0)


def test_means_weigh_sentences_alike_and_leave_those_without_a_target_out():
    means = summary([score("appearance", 80, 60), score("motion", 20, 40), score("", 50, 50), score("none", 3, 3, 75)])
    assert means.j_and_f == {"all": 50.0, "appearance": 70.0, "relation": None, "motion": 30.0}
    assert (means.region, means.boundary, means.empty_accuracy) == (50.0, 50.0, 75.0)


def test_the_bootstrap_draws_videos_and_not_sentences():
    # Video a is better by 10 in its hundred sentences, video b worse by 10 in its one.
    first = {("a", str(i)): 60.0 for i in range(100)} | {("b", "0"): 40.0}
    second = dict.fromkeys(first, 50.0)
    difference = paired_bootstrap(first, second)
    assert difference.mean == pytest.approx((100 * 10 - 10) / 101)
    assert (difference.low, difference.high) == (-10.0, 10.0)
    assert (difference.sentences, difference.videos) == (101, 2)


def test_the_bootstraps_interval_is_that_of_independent_videos():
    rng = np.random.default_rng(3)
    first = {(str(video), "0"): float(rng.normal(1, 5)) for video in range(400)}
    difference = paired_bootstrap(first, dict.fromkeys(first, 0.0))
    assert difference.high - difference.low == pytest.approx(2 * 1.96 * 5 / np.sqrt(400), rel=0.15)


def test_runs_without_a_common_sentence_cannot_be_compared():
    with pytest.raises(ValueError, match="common"):
        paired_bootstrap({("a", "0"): 1.0}, {("b", "0"): 1.0})


@pytest.mark.torch
def test_the_references_masks_score_a_hundred_and_the_record_says_all(golden_bundle, tmp_path, capsys):
    folder, record = write_mevis(tmp_path / "set", ("one", "two")), tmp_path / "r.json"
    common = ["evaluate", "--bundle", str(golden_bundle), "--dataset", str(folder)]
    assert main([*common, "--output", str(record)]) == 0
    document = json.loads(record.read_text())
    assert document["j_and_f"]["appearance"] >= 99.9
    assert document["j_and_f"]["motion"] >= 99.9
    assert document["j_and_f"]["relation"] is None
    assert document["j_and_f"]["all"] < 99  # sentence 2 names one object, its truth is the union of two
    assert document["empty_accuracy"] == 0.0
    assert (document["policy"], document["videos"], document["sentences"]) == ("exact", 2, 8)
    assert document["environment"]["packages"]["onnxruntime"]
    assert len(document["scores"]) == 8
    assert (document["refresh"], document["language_model_calls"]) == ("always", 100.0)
    assert "J&F all" in capsys.readouterr().out

    window = tmp_path / "w.json"
    options = ["--policy", "window", "--refresh", "every:7", "--videos", "1", "--compare", str(record)]
    assert main([*common, "--output", str(window), *options]) == 0
    document = json.loads(window.read_text())
    assert document["language_model_calls"] == pytest.approx(100 * 2 / 14)
    difference = document["difference"]
    assert difference["mean"] < 0
    assert (difference["sentences"], difference["videos"]) == (3, 1)

    other = tmp_path / "other.json"
    other.write_text(RECORD % 50)
    capsys.readouterr()
    assert main([*common, "--output", str(window), "--refresh", "once", "--videos", "1", "--compare", str(other)]) == 2
    assert "other.json: got no sentence of these videos" in capsys.readouterr().err
    document = json.loads(window.read_text())  # what was measured is not lost
    assert (document["refresh"], document["difference"]) == ("once", None)


@pytest.mark.torch
def test_a_key_frame_that_the_model_chooses_is_each_sentences_own(golden_bundle, tmp_path):
    dataset = open_dataset(str(write_mevis(tmp_path / "set")))
    started = []
    with Segmenter.open(golden_bundle) as segmenter:
        segment = segmenter.segment

        def watched(video, texts, **rules):
            run = segment(video, texts, **rules)
            started.append((tuple(texts), run.key_frame))
            return run

        segmenter.segment = watched
        scores = evaluate(
            segmenter, dataset, 1, EvaluationRules(key_frame="auto"), lambda numbers, total, name: numbers
        )
        alone = [segment(golden.FRAMES, [score.text], key_frame="auto").key_frame for score in scores]
    assert started == [((score.text,), key) for score, key in zip(scores, alone, strict=True)]


BASELINE = ["--baseline", "reference", "--checkpoint", str(golden.GOLDEN / "checkpoint")]
BASELINE += ["--vision-tower", str(golden.GOLDEN / "clip"), "--sam2-config", str(golden.GOLDEN / "sam2.yaml")]


@pytest.mark.torch
@pytest.mark.parametrize("policy", ["exact", "window"])
def test_exact_scores_as_the_reference_beside_it_and_another_policy_does_not(golden_bundle, tmp_path, capsys, policy):
    folder, record = write_mevis(tmp_path / "set"), tmp_path / "r.json"
    options = ["--bundle", str(golden_bundle), "--dataset", str(folder), "--output", str(record), "--policy", policy]
    assert main(["evaluate", *options, *BASELINE]) == 0
    document = json.loads(record.read_text())
    beside = document["reference"]
    assert beside["j_and_f"]["appearance"] >= 99.9  # the truth is what the reference predicted
    exact = policy == "exact"
    assert (abs(beside["difference"]["mean"]) < 0.05) == exact
    assert (beside["mean_iou"] > 0.999) == exact
    assert (beside["least_iou"] > 0.99) == exact
    assert 0 <= beside["same"] <= 1
    assert beside["difference"]["mean"] == pytest.approx(document["j_and_f"]["all"] - beside["j_and_f"]["all"])
    assert "masks of both: mean IoU" in capsys.readouterr().out


def test_agreement_counts_frames_for_masks_and_sentences_for_j_and_f():
    pairs = [
        Pair(score("motion", 60, 60), score("motion", 50, 50), (1.0, 1.0, 1.0)),
        Pair(score("none", 0, 0), score("none", 90, 90), (0.2,)),
    ]
    found = agreement(pairs)
    assert (found.j_and_f["all"], found.difference.mean) == (50.0, 10.0)
    assert (found.mean_iou, found.least_iou, found.same) == (pytest.approx(0.8), 0.2, 0.75)
    assert agreement(pairs[1:]).difference is None


@pytest.mark.torch
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--baseline", "reference"], "--baseline reference: got no --checkpoint"),
        ([*BASELINE, "--keyframe", "3"], "--keyframe: got '3', expected first"),
        (["--videos", "0"], "--videos: got 0, expected 1 to 1"),
        (["--videos", "2"], "--videos: got 2, expected 1 to 1"),
        (["--compare", "absent.json"], "absent.json: cannot be read"),
    ],
)
def test_a_wrong_argument_is_one_line(golden_bundle, tmp_path, capsys, arguments, message):
    folder = write_mevis(tmp_path / "set")
    common = [
        "evaluate",
        "--bundle",
        str(golden_bundle),
        "--dataset",
        str(folder),
        "--output",
        str(tmp_path / "r.json"),
    ]
    assert main([*common, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "{}", '{"format": "other"}', '{"format": "glus-edge evaluation"}'),
        *(RECORD % points for points in ("NaN", "1e999", f"1{'0' * 400}", '"x"')),
    ],
)
def test_a_file_that_is_no_record_is_one_line(tmp_path, capsys, content):
    (tmp_path / "r.json").write_text(content)
    output = str(tmp_path / "o.json")
    assert main(["evaluate", "--bundle", "b", "--output", output, "--compare", str(tmp_path / "r.json")]) == 2
    assert "expected a record of `glus-edge evaluate`" in capsys.readouterr().err


@pytest.mark.parametrize("output", ["nowhere/r.json", "."])
def test_a_record_that_cannot_be_written_is_said_before_anything_is_run(tmp_path, monkeypatch, capsys, output):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "--bundle", "b", "--output", output]) == 2
    error = capsys.readouterr().err
    assert f"glus-edge: error: {output}: " in error
    assert error.count("\n") == 1
    assert not any(tmp_path.iterdir())
