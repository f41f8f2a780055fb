"""`glus-edge stream` as a person uses it."""

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
import pytest

from glus_edge.runtime.bundle.shipped import FOLDER
from glus_edge.runtime.cli import main
from glus_edge.runtime.loop.live_session import LiveSession
from glus_edge.runtime.output import overlay as overlay_module
from glus_edge.runtime.video.video import open_video
from tests.runtime.started import started

CLIP = FOLDER / "clip" / "clip.mp4"
SENTENCE = "the red disc"


def stream(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, lines, and what was said to people."""
    code = main(["stream", *map(str, arguments)])
    said = capsys.readouterr()
    return code, [json.loads(line) for line in said.out.splitlines()], said.err


def test_a_line_comes_for_every_frame_there_was_time_for(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.mp4"
    code, lines, said = stream(capsys, CLIP, SENTENCE, "the cyan square", "--overlay", overlay)
    assert code == 0
    numbers = [line["index"] for line in lines]
    assert numbers == sorted(set(numbers))
    assert sum(line["passed_over"] for line in lines) == numbers[-1] + 1 - len(lines)
    assert numbers[-1] == open_video(CLIP).frame_count - 1  # the last frame is never passed over
    assert all(line["latency_ms"] > 0 and len(line["sentences"]) == 2 for line in lines)
    assert any(line["sentences"][1]["box"] for line in lines)
    assert f"{len(lines)} frames" in said
    drawn = open_video(overlay)
    assert drawn.frame_count == len(lines)
    assert drawn.read(drawn.frame_count - 1).time == pytest.approx(lines[-1]["time_s"] - lines[0]["time_s"], abs=0.01)


def test_a_deadline_that_leaves_no_time_asks_until_that_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, said = stream(capsys, CLIP, SENTENCE, "--deadline-ms", "0.001")
    assert code == 0
    assert [line["asked"] for line in lines] == ([True, True] + [False] * len(lines))[: len(lines)]
    assert f"{len(lines)} later than 0.001 ms" in said


def test_it_stops_after_the_frames_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, _ = stream(capsys, CLIP, SENTENCE, "--frames", "2")
    assert (code, len(lines)) == (0, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.mp4", SENTENCE], "nowhere.mp4: no such file, expected a camera"),
        (["ftp://host/a", SENTENCE], "source: got ftp://host/a, expected an address that begins with one of"),
        ([CLIP, SENTENCE, "--deadline-ms", "0"], "deadline: got 0 ms, expected more than 0"),
        ([CLIP, SENTENCE, "--frames", "0"], "--frames: got 0, expected at least 1"),
        ([CLIP, ""], "sentence: got '', expected words"),
        ([CLIP, SENTENCE, "--overlay", CLIP], "clip.mp4: exists already"),
        ([CLIP, SENTENCE, "--overlay", CLIP, "--overwrite"], "clip.mp4: is the source itself"),
        ([CLIP, SENTENCE, "--overlay", "/tmp", "--overwrite"], "/tmp: is a folder, expected the name of a file"),
        ([CLIP, SENTENCE, "--overlay", "o" * 300], "ooo: cannot be written (File name too long)"),
        ([CLIP, SENTENCE, "--overlay", "/nowhere/o.mp4"], "/nowhere/o.mp4: cannot be written"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[object], message: str
) -> None:
    code, lines, said = stream(capsys, *arguments)
    assert (code, lines) == (2, [])
    (line,) = (each for each in said.splitlines() if not each.startswith("backend: "))
    assert message in line


def test_a_stream_that_breaks_off_leaves_its_lines_and_overlay(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    short, overlay = tmp_path / "short.mkv", tmp_path / "overlay.mp4"
    whole = write_video("clip.mkv", options={"g": "5"}).read_bytes()
    short.write_bytes(whole[: len(whole) * 2 // 3])
    code, lines, said = stream(capsys, short, SENTENCE, "--overlay", overlay)
    assert code == 2
    assert lines
    assert "short.mkv: after " in said
    assert open_video(overlay).frame_count == len(lines)


def test_an_overlay_that_fills_the_disk_plays_as_far_as_it_came(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlay_module, "_KEY_FRAME_TICKS", 1)  # every frame
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, before[1]))
    try:
        code, lines, said = stream(capsys, CLIP, SENTENCE, "--overlay", tmp_path / "overlay.mp4")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (code, said.count("overlay.mp4: ends early: ")) == (2, 1)
    assert [each.name for each in tmp_path.iterdir()] == ["overlay.mp4"]
    shown = 0
    # The last fragment is cut off somewhere.
    with av.open(str(tmp_path / "overlay.mp4")) as container, suppress(av.error.InvalidDataError):
        for _ in container.decode(video=0):
            shown += 1
    assert 0 < shown <= len(lines)


def test_nothing_is_left_of_an_overlay_when_the_loop_fails(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **settings: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(LiveSession, "push", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        stream(capsys, CLIP, SENTENCE, "--overlay", tmp_path / "overlay.mp4")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_are_how_a_live_run_ends(tmp_path: Path, number: signal.Signals) -> None:
    overlay = tmp_path / "overlay.mp4"
    with started("stream", CLIP, SENTENCE, "--overlay", overlay) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.readline()
        time.sleep(0.05)
        running.send_signal(number)
        rest, said = running.stdout.read(), running.stderr.read()
    assert running.returncode == 0
    assert "frames, " in said
    assert open_video(overlay).frame_count == 1 + len(rest.splitlines())


def test_a_reader_that_leaves_ends_the_run_and_the_overlay_is_kept(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overlay = tmp_path / "overlay.mp4"
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as left:
        monkeypatch.setattr(sys, "stdout", left)
        assert main(["stream", str(CLIP), SENTENCE, "--overlay", str(overlay), "--frames", "9"]) == 1
    assert "clip.mp4: 1 frames, " in capsys.readouterr().err
    assert open_video(overlay).frame_count == 1


def test_lines_that_cannot_be_written_are_said_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["stream", str(CLIP), SENTENCE]) == 2
    said = capsys.readouterr().err
    assert "1 frames" in said
    assert "error: standard output: cannot be written (No space left on device), expected room" in said
    assert "Traceback" not in said
