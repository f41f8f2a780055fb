"""`glus-edge evaluate` on official sets: predictions, submissions, sweeps, and a run that is broken off and goes on."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from glus_edge.benchmarks.accuracy import evaluation_run
from glus_edge.benchmarks.accuracy.scorer import ProcessScorer, pack, unpack
from glus_edge.benchmarks.metrics.expression_metric import ExpressionMetric
from glus_edge.benchmarks.metrics.metric import MASKS
from glus_edge.runtime.cli import main
from glus_edge.runtime.errors import GlusEdgeError
from tests.benchmarks import sets
from tests.benchmarks.sets import ONE, TWO, WRITERS

pytestmark = pytest.mark.torch  # the generated set, which the command offers, is drawn by training's code


def evaluate(*arguments):
    return main(["evaluate", "--threads", "1", *map(str, arguments)])


def scores(record):
    document = json.loads(Path(record).read_text())
    return {key: document[key] for key in ("averages", "scores", "j_and_f", "videos", "sentences")}


@pytest.mark.parametrize("name", ["mevis", "mevis-v2", "revos", "ref-davis17", "reasonvos-videolisa", "long-rvos"])
def test_masks_that_were_written_score_the_same_when_they_are_read(tmp_path, capsys, name):
    address = f"{name}:{WRITERS[name](tmp_path / 'set')}"
    run, again, masks = tmp_path / "run.json", tmp_path / "again.json", tmp_path / "masks"
    assert evaluate("--dataset", address, "--output", run, "--predictions", masks) == 0
    printed = capsys.readouterr().out
    assert json.loads(run.read_text())["protocol"] in printed
    assert evaluate("--dataset", address, "--output", again, "--predictions", masks, "--score-only") == 0
    assert scores(run)["averages"] == scores(again)["averages"]
    figures = [each["figures"] for each in scores(run)["scores"]]
    assert figures == [each["figures"] for each in scores(again)["scores"]]
    assert len(figures) == scores(run)["sentences"]
    assert not (tmp_path / "run.json.journal").exists()


def test_a_servers_set_gives_the_zip_that_it_takes(tmp_path):
    folder = sets.ref_youtube_vos(tmp_path / "set")
    masks, archive = tmp_path / "masks", tmp_path / "submission.zip"
    options = ["--predictions", masks, "--submission", archive]
    assert evaluate("--dataset", f"ref-youtube-vos:{folder}", "--output", tmp_path / "r.json", *options) == 0
    names = zipfile.ZipFile(archive).namelist()
    assert names == sorted(f"Annotations/cats/{key}/{frame}.png" for key in (0, 1) for frame in sets.FRAMES)
    record = json.loads((tmp_path / "r.json").read_text())
    assert (record["averages"], record["scores"], record["videos"]) == ({}, [], 1)


def test_mevis_zip_begins_with_the_videos_and_is_the_same_each_time(tmp_path):
    folder = sets.mevis(tmp_path / "set", masks=False, names=("a", "b"))
    archives = []
    for run in ("1", "2"):
        options = ["--predictions", tmp_path / f"masks{run}", "--submission", tmp_path / f"{run}.zip"]
        assert evaluate("--dataset", f"mevis-server:{folder}", "--output", tmp_path / f"{run}.json", *options) == 0
        archives.append((tmp_path / f"{run}.zip").read_bytes())
    assert archives[0] == archives[1]
    assert {name.split("/")[0] for name in zipfile.ZipFile(tmp_path / "1.zip").namelist()} == {"a", "b"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--submission", "x.zip"], "--submission: got no --predictions"),
        (["--score-only"], "--score-only: got no --predictions"),
        (["--precision", "int4"], "--precision: got 'int4', expected NAME=BUNDLE"),
        (["--precision", "a=x", "a=y"], "--precision: got 'a=y', expected NAME=BUNDLE, each name once"),
        (["--precision", "a=x", "--bundle", "y"], "--bundle and --precision: got both"),
        (["--predictions", "set"], "set: exists already, expected a new or empty folder"),
        (["--predictions", "none", "--score-only"], "got no prediction"),
    ],
)
def test_options_that_do_not_go_together_are_named(tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    sets.reasonvos(tmp_path / "set")
    assert evaluate("--dataset", "reasonvos:set", "--output", "r.json", *options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "r.json").exists()


def test_a_server_keeps_its_truth_to_itself(tmp_path, capsys):
    folder = sets.mevis(tmp_path / "set", masks=False)
    assert evaluate("--dataset", f"mevis-server:{folder}", "--output", tmp_path / "r.json") == 2
    assert "the server keeps the truth" in capsys.readouterr().err


def test_a_sweep_has_a_record_for_every_variant_and_one_for_all(tmp_path):
    folder, output = sets.mevis(tmp_path / "set"), tmp_path / "r.json"
    options = ["--policy", "exact", "window", "--keyframe", "first", "1", "--predictions", tmp_path / "masks"]
    assert evaluate("--dataset", folder, "--output", output, *options) == 0
    document = json.loads(output.read_text())
    names = [row["variant"] for row in document["rows"]]
    assert len(set(names)) == 4
    assert document["rows"][0]["difference"] is None
    assert [set(row["difference"]) >= {"mean", "low", "high"} for row in document["rows"][1:]] == [True] * 3
    for row in document["rows"]:
        record = json.loads((tmp_path / row["record"]).read_text())
        assert f"-{record['policy']}-" in row["variant"]
        assert row["variant"].endswith(f"-{record['key_frame']}")
        assert len(list((tmp_path / "masks" / row["variant"]).rglob("*.png"))) == 9


@pytest.fixture
def three_videos(tmp_path):
    return sets.mevis(tmp_path / "set", names=("a", "b", "c"))


def break_at(monkeypatch, name):
    """Evaluation fails at this video; the names of the videos that were begun."""
    begun = []
    original = evaluation_run.evaluate_video

    def evaluate_video(segmenter, asked, *others):
        begun.append(asked.name)
        if asked.name == name:
            raise GlusEdgeError("the power failed")
        return original(segmenter, asked, *others)

    monkeypatch.setattr(evaluation_run, "evaluate_video", evaluate_video)
    return begun


def test_a_run_that_was_broken_off_goes_on_at_the_video_it_was_at(three_videos, tmp_path, monkeypatch):
    whole, broken = tmp_path / "whole.json", tmp_path / "broken.json"
    assert evaluate("--dataset", three_videos, "--output", whole) == 0
    options = ["--dataset", three_videos, "--output", broken, "--predictions", tmp_path / "masks"]
    with monkeypatch.context() as patch:
        assert break_at(patch, "b") == []
        assert evaluate(*options) == 2
    assert not broken.exists()
    assert (tmp_path / "broken.json.journal").exists()
    begun = break_at(monkeypatch, "")
    assert evaluate(*options) == 0
    assert begun == ["b", "c"]
    assert scores(whole) == scores(broken)
    assert len(list((tmp_path / "masks").rglob("*.png"))) == 27


def test_a_run_that_was_broken_off_in_its_first_video_goes_on(three_videos, tmp_path, monkeypatch):
    options = ["--dataset", three_videos, "--output", tmp_path / "r.json", "--predictions", tmp_path / "masks"]
    with monkeypatch.context() as patch:
        break_at(patch, "a")
        assert evaluate(*options) == 2
    sets.write_png(tmp_path / "masks" / "a" / "0" / "00000.png", ONE[0])
    assert evaluate(*options) == 0


def test_a_finished_video_whose_files_are_not_whole_is_run_again(three_videos, tmp_path, monkeypatch):
    options = ["--dataset", three_videos, "--output", tmp_path / "r.json", "--predictions", tmp_path / "masks"]
    with monkeypatch.context() as patch:
        break_at(patch, "c")
        assert evaluate(*options) == 2
    (tmp_path / "masks" / "a" / "1" / "00005.png").write_bytes(b"")
    (tmp_path / "masks" / "b" / "1" / "00005.png").unlink()
    begun = break_at(monkeypatch, "")
    assert evaluate(*options) == 0
    assert begun == ["a", "b", "c"]


def test_an_unfinished_run_of_something_else_is_not_gone_on_with(three_videos, tmp_path, monkeypatch, capsys):
    options = ["--dataset", three_videos, "--output", tmp_path / "r.json"]
    break_at(monkeypatch, "b")
    assert evaluate(*options) == 2
    assert evaluate(*options, "--int4-accuracy", "1", "--predictions", tmp_path / "masks") == 2
    assert "got an unfinished run with another" in capsys.readouterr().err


def test_a_killed_run_finished_has_the_same_scores(three_videos, tmp_path):
    whole, killed = tmp_path / "whole.json", tmp_path / "killed.json"
    assert evaluate("--dataset", three_videos, "--output", whole) == 0
    command = [sys.executable, "-m", "glus_edge.runtime.cli", "evaluate", "--threads", "1", "--dataset", three_videos]
    with subprocess.Popen([*map(str, command), "--output", str(killed)], start_new_session=True) as process:
        journal = tmp_path / "killed.json.journal"
        while process.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") > 1):
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    assert evaluate("--dataset", three_videos, "--output", killed) == 0
    assert scores(whole) == scores(killed)


def test_masks_are_packed_and_unpacked():
    masks = np.random.default_rng(0).random((3, 5, 7)) > 0.5
    assert np.array_equal(unpack(pack(masks)), masks)
    assert pack(masks).bits.nbytes == 14


def test_another_process_gives_the_same_values_and_its_end_is_told():
    metric, masks, truth = ExpressionMetric(), np.stack([ONE[0], ONE[1]]), {MASKS: np.stack([ONE[0], TWO[1]])}
    with ProcessScorer() as scorer:
        assert np.array_equal(scorer.submit(metric, masks, truth)(), metric.frame(masks, truth))
        for process in list(scorer._executor._processes.values()):
            os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(GlusEdgeError, match="the process that scores has ended"):
            until_it_fails(lambda: scorer.submit(metric, masks, truth)())


def until_it_fails(work):
    """The end of a process is noticed in a thread: the next call may still be taken."""
    for _ in range(100):
        work()
        time.sleep(0.02)
