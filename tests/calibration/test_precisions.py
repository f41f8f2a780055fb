"""Scores of every precision are kept video by video."""

import argparse
import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from glus_edge.benchmarks.accuracy.bootstrap import PairedDifference
from glus_edge.benchmarks.accuracy.evaluation import EvaluationRules, SentenceScore
from glus_edge.benchmarks.datasets.dataset import NO_TARGET
from glus_edge.calibration import precisions, precisions_command
from glus_edge.calibration.precisions import PrecisionRow, PrecisionSettings, compare_precisions
from glus_edge.runtime.errors import GlusEdgeError, InputError

pytestmark = pytest.mark.torch

DIFFERENCE = PairedDifference(mean=-1.0, low=-2.0, high=0.5, sentences=4, videos=2)


class Dataset:
    name = "three"

    def __len__(self) -> int:
        return 3

    def __getitem__(self, number: int) -> str:
        return f"video {number}"


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "manifest.json").write_text("{}")
    monkeypatch.setattr(precisions.Segmenter, "open", lambda path: nullcontext(path))
    return folder


def score(video: str) -> SentenceScore:
    return SentenceScore(video, "0", "the ball", "motion", 8, 50.0, 60.0, 0.0, 100.0, 100.0)


def test_a_stopped_run_scores_only_what_is_missing(tmp_path, bundle, monkeypatch):
    asked = []

    def evaluate(segmenter, dataset, videos, rules, progress):
        asked.append(dataset[0])
        if len(asked) == 3:
            raise KeyboardInterrupt
        return [score(dataset[0])]

    monkeypatch.setattr(precisions, "evaluate", evaluate)
    record = tmp_path / "scores.jsonl"
    with pytest.raises(KeyboardInterrupt):
        precisions.score_videos(bundle, Dataset(), 3, EvaluationRules(), record)
    record.write_text(record.read_text() + '{"scores": [{"video": "cut o')
    scores = precisions.score_videos(bundle, Dataset(), 3, EvaluationRules(), record)
    assert asked == ["video 0", "video 1", "video 2", "video 2"]
    assert [each.video for each in scores] == ["video 0", "video 1", "video 2"]
    assert precisions.score_videos(bundle, Dataset(), 2, EvaluationRules(), record) == scores[:2]
    assert precisions.score_videos(bundle, Dataset(), 3, EvaluationRules(), record) == scores
    assert len(asked) == 4


def test_scores_of_another_bundle_or_policy_are_not_taken(tmp_path, bundle, monkeypatch):
    monkeypatch.setattr(precisions, "evaluate", lambda *arguments: [score("new")])
    record = tmp_path / "scores.jsonl"
    precisions.score_videos(bundle, Dataset(), 1, EvaluationRules(), record)
    old = json.loads(record.read_text().splitlines()[1])
    record.write_text(record.read_text().replace('"new"', '"old"'))
    assert precisions.score_videos(bundle, Dataset(), 1, EvaluationRules(), record)[0].video == "old"
    assert precisions.score_videos(bundle, Dataset(), 1, EvaluationRules("window"), record)[0].video == "new"
    record.write_text(record.read_text().replace('"new"', '"old"'))
    (bundle / "manifest.json").write_text("{ }")
    assert precisions.score_videos(bundle, Dataset(), 1, EvaluationRules("window"), record)[0].video == "new"
    assert old["scores"][0]["video"] == "new"


def test_videos_without_a_target_give_no_table(tmp_path, bundle, monkeypatch):
    monkeypatch.setattr(precisions, "open_dataset", lambda name: Dataset())
    monkeypatch.setattr(precisions, "write_variants", lambda *arguments: {})
    monkeypatch.setattr(precisions, "evaluate", lambda *arguments: [replace(score("a"), kind=NO_TARGET)])
    with pytest.raises(InputError, match="no sentence has a target"):
        compare_precisions(PrecisionSettings(bundle, tmp_path / "out"), print)


def test_every_variant_has_a_folder_of_its_own():
    names = {precisions._file_name(name) for name in precisions.VARIANTS}
    assert len(names) == len(precisions.VARIANTS)
    assert all(name.replace("-", "").isalnum() for name in names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--videos", "0"], "--videos: got 0, expected 1 to 3"),
        (["--videos", "-1"], "--videos: got -1"),
        (["--videos", "4"], "--videos: got 4"),
        (["--output", "file"], "--output file: cannot be made"),
    ],
)
def test_a_wrong_argument_is_said_before_the_work(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    monkeypatch.setattr(precisions, "open_dataset", lambda name: Dataset())
    parser = argparse.ArgumentParser()
    precisions_command.configure(parser)
    with pytest.raises(GlusEdgeError, match=message):
        precisions_command.run(parser.parse_args(["--bundle", "b", "--output", "out", *arguments]))


def test_the_table_has_a_row_for_each_bundle(tmp_path, bundle, monkeypatch, capsys):
    rows = [PrecisionRow("source", 2_000_000, 80.0, None), PrecisionRow("int8", 1_000_000, 79.0, DIFFERENCE)]
    monkeypatch.setattr(precisions, "compare_precisions", lambda settings, report: rows)
    parser = argparse.ArgumentParser()
    precisions_command.configure(parser)
    assert precisions_command.run(parser.parse_args(["--bundle", str(bundle), "--output", str(tmp_path)])) == 0
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| source | 2.0 | 80.00 |  |",
        "| int8 | 1.0 | 79.00 | -1.00 [-2.00, +0.50] |",
    ]


def test_variants_are_made_once_for_a_source_and_its_clips(golden_bundle, golden_bundle_fp16, tmp_path, monkeypatch):
    made = []

    def write(bundle, recipe, scales, variant, path, report):
        made.append(path.name)
        path.mkdir()
        (path / "manifest.json").touch()

    monkeypatch.setattr(precisions, "_write_variant", write)
    monkeypatch.setattr(precisions, "measure", lambda *arguments: (None, None))
    monkeypatch.setattr(precisions, "open_calibration_videos", lambda *arguments: [])
    names = [precisions._file_name(name) for name in precisions.VARIANTS]
    for source, videos, wanted in (
        (golden_bundle, "generated", names),
        (golden_bundle, "generated", []),
        (golden_bundle_fp16, "generated", names),
        (golden_bundle_fp16, "others", names),
    ):
        made.clear()
        settings = PrecisionSettings(source, tmp_path, calibration_videos=videos, calibration_count=2)
        precisions.write_variants(settings, print)
        assert made == wanted
    (tmp_path / names[2] / "manifest.json").unlink()
    (tmp_path / names[2]).rmdir()
    made.clear()
    precisions.write_variants(settings, print)
    assert made == names[2:3]
