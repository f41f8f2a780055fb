"""`glus-edge segment` as a person uses it: what it leaves behind, and what it says when it cannot."""

import errno
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from glus_edge.runtime import segmenter
from glus_edge.runtime.cli import main
from tests.runtime import golden

pytestmark = pytest.mark.torch  # the bundle is exported first


def segment(*arguments):
    return main(["segment", *map(str, arguments)])


def test_masks_overlay_and_record_are_written(golden_bundle, tmp_path):
    output = tmp_path / "out"
    sentences = [golden.sentence("exp0"), golden.sentence("exp1")]
    assert segment(golden.FRAMES, *sentences, "--bundle", golden_bundle, "--output", output, "--policy", "exact") == 0
    for place, run in enumerate(["exp0", "exp1"]):
        for step, wanted in enumerate(golden.expected_masks(run)):
            mask = cv2.imread(str(output / "masks" / str(place) / f"{step:05d}.png"), cv2.IMREAD_UNCHANGED)
            assert set(np.unique(mask)) <= {0, 255}
            assert golden.iou(mask > 0, wanted) >= 0.999
    record = json.loads((output / "result.json").read_text())
    assert record["status"] == "complete"
    assert record["policy"] == "exact"
    assert record["backend"] == "onnxruntime"
    assert record["context_frames"] == [2, 5, 9, 12]
    assert [frame["index"] for frame in record["frames"]] == list(range(14))
    assert all(frame["timings_ms"]["language_model"] > 0 for frame in record["frames"])
    capture = cv2.VideoCapture(str(output / "overlay.mp4"))
    assert int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == 14


def test_the_record_says_which_rules_a_preset_and_its_exceptions_came_to(golden_bundle, tmp_path):
    output = tmp_path / "out"
    rules = ["--preset", "fast", "--memory", "confident+present"]
    assert segment(golden.FRAMES, "a thing", "--bundle", golden_bundle, "--output", output, *rules) == 0
    record = json.loads((output / "result.json").read_text())
    chosen = [record[rule] for rule in ("policy", "refresh", "memory", "lost")]
    assert chosen == ["window", "every:10", "confident+present", "hide"]
    assert [frame["index"] for frame in record["frames"] if frame["asked"]] == [0, 10]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.mp4", "a dog"], "nowhere.mp4: no such file"),
        (["{frames}", ""], "sentence: got '', expected words"),
        (["{frames}", "a dog", "the <image>"], "reserved token <image>"),
        (["{frames}", "dog " * 700], "tokens, expected at most 2048"),
        (["{frames}", "a dog", "--threads", "-3"], "--threads: got -3, expected 0"),
        (["{frames}", "a dog", "--keyframe", "14"], "key frame: got 14, expected 0 to 13"),
        (
            ["{frames}", "a dog", "--keyframe", "nowhere.json"],
            "expected 'first', 'auto', a frame number or a score file",
        ),
        (["{frames}", "a dog", "--backend", "onnxruntime-cuda"], "CUDAExecutionProvider: not in this ONNX Runtime"),
        (["{frames}", "a dog", "--policy", "fastest"], "invalid choice: 'fastest'"),
        (["{frames}", "a dog", "--memory", "all"], "memory: got 'all', expected reference, or some of confident"),
        (["{frames}", "a dog", "--bundle", "{frames}"], "expected a bundle"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_and_nothing_is_left(
    golden_bundle, tmp_path, capsys, arguments, message
):
    output = tmp_path / "out"
    filled = [argument.format(frames=golden.FRAMES) for argument in arguments]
    try:
        code = segment("--bundle", golden_bundle, "--output", output, *filled)
    except SystemExit as exit_:  # argparse's own way
        code = exit_.code
    stderr = capsys.readouterr().err
    assert code == 2
    assert message in stderr
    assert stderr.count("\n") == 1
    assert not output.exists()


def test_an_output_folder_that_exists_is_kept_unless_told_otherwise(golden_bundle, tmp_path, capsys):
    output = tmp_path / "out"
    command = [golden.FRAMES, "a dog", "--bundle", golden_bundle, "--output", output]
    assert segment(*command) == 0
    before = (output / "result.json").read_bytes()
    assert segment(*command) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (output / "result.json").read_bytes() == before
    assert segment(*command, "--overwrite") == 0


def test_the_output_never_goes_into_the_video_or_the_bundle(golden_bundle, tmp_path, capsys):
    frames = shutil.copytree(golden.FRAMES, tmp_path / "frames")
    assert segment(frames, "a dog", "--bundle", golden_bundle, "--output", frames / "out") == 2
    assert "choose a folder of its own" in capsys.readouterr().err
    assert not (frames / "out").exists()


def test_ctrl_c_leaves_what_was_finished_readable(golden_bundle, tmp_path, monkeypatch):
    output, original = tmp_path / "out", segmenter.Propagation.step

    def interrupted(direction, frame):
        if frame.index == 6:
            raise KeyboardInterrupt
        return original(direction, frame)

    monkeypatch.setattr(segmenter.Propagation, "step", interrupted)
    assert segment(golden.FRAMES, "a dog", "--bundle", golden_bundle, "--output", output) == 130
    record = json.loads((output / "result.json").read_text())
    assert record["status"] == "interrupted"
    assert [frame["index"] for frame in record["frames"]] == list(range(6))
    assert len(list((output / "masks" / "0").iterdir())) == 6
    assert int(cv2.VideoCapture(str(output / "overlay.mp4")).get(cv2.CAP_PROP_FRAME_COUNT)) == 6


def test_a_video_cut_off_in_the_middle_is_segmented_up_to_there_and_said(golden_bundle, tmp_path, write_video, capsys):
    whole = write_video("clip.mkv", frames=20, options={"g": "1"})
    short = tmp_path / "short.mkv"
    short.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.7)])
    output = tmp_path / "out"
    assert segment(short, "a dog", "--bundle", golden_bundle, "--output", output) == 0
    record = json.loads((output / "result.json").read_text())
    assert record["status"] == "truncated"
    assert record["reason"]
    assert 0 < len(record["frames"]) < 20
    assert len(list((output / "masks" / "0").iterdir())) == len(record["frames"])
    assert "damaged" in capsys.readouterr().out


def test_a_full_disk_ends_the_run_with_one_line_and_keeps_the_frames_before(
    golden_bundle, tmp_path, monkeypatch, capsys
):
    output, original = tmp_path / "out", Path.write_bytes

    def full(path, content):
        if path.name.startswith("00005.png"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    assert segment(golden.FRAMES, "a dog", "--bundle", golden_bundle, "--output", output) == 2
    stderr = capsys.readouterr().err
    assert "the disk is full" in stderr
    assert [line.split(":")[0] for line in stderr.splitlines()] == ["backend", "glus-edge"]
    record = json.loads((output / "result.json").read_text())
    assert record["status"] == "interrupted"
    assert [frame["index"] for frame in record["frames"]] == [0, 1, 2, 3, 4]
    assert not list(output.rglob("*.part"))
