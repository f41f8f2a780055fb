import os
import resource
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from glus_edge.runtime.errors import OutputError
from glus_edge.runtime.output.writer import OutputWriter
from glus_edge.runtime.video.video import Video, open_video
from tests.runtime.output_runs import RUN, VideoWriter, masks_of, record, result_of, write_all, write_some


@pytest.fixture
def video(write_video: VideoWriter) -> Video:
    return open_video(write_video(frames=10, size=(49, 63), codec="ffv1", name="clip.mkv"))


def test_masks_record_and_overlay_of_a_whole_run(tmp_path: Path, video: Video) -> None:
    out = tmp_path / "new" / "out"
    with OutputWriter.open(out, video, RUN) as writer:
        assert record(out)["status"] == "running"
        # From the key frame to the end, then back: frame 3 comes twice.
        for index in (3, 4, 5, 6, 7, 8, 9, 3, 2, 1, 0):
            frame = video.read(index)
            writer.write(frame, result_of(frame))
    assert sorted(path.name for path in out.iterdir()) == ["masks", "overlay.mp4", "result.json"]
    for frame in video.frames():
        for sentence, mask in enumerate(masks_of(frame)):
            png = cv2.imread(str(out / f"masks/{sentence}/{frame.index:05d}.png"), cv2.IMREAD_UNCHANGED)
            assert png.dtype == np.uint8
            assert np.array_equal(png, mask * np.uint8(255))
    result = record(out)
    assert (result["format"], result["format_version"], result["status"]) == ("glus-edge result", 1, "complete")
    assert result["reason"] is None
    assert result["sentences"] == ["the red ball", "der grüne Ball"]
    assert (result["policy"], result["backend"], result["precision"], result["bundle"]) == (
        "exact",
        "onnxruntime",
        {"image_encoder": "float32"},
        "bundle",
    )
    assert (result["context_frames"], result["key_frame"], result["overlay"]) == ([1, 3, 5, 7], 3, "overlay.mp4")
    assert [frame["index"] for frame in result["frames"]] == list(range(10))
    assert result["frames"][2] == {
        "index": 2,
        "stem": "00002",
        "time_s": 0.1,
        "asked": True,
        "sentences": [
            {
                "segmented": True,
                "visible": True,
                "predicted_iou": 0.75,
                "object_score": -1.5,
                "selected_mask": 2,
                "area_px": 128,
                "box": [4, 2, 16, 8],
            },
            {
                "segmented": False,
                "visible": True,
                "predicted_iou": None,
                "object_score": None,
                "selected_mask": None,
                "area_px": 49 * 63 - 128,
                "box": [0, 0, 63, 49],
            },
        ],
        "timings_ms": {"clip_encoder": 1.25, "language_model": 20.0},
    }
    overlay = open_video(out / "overlay.mp4")
    assert overlay.frame_count == 10


def test_the_folder_says_running_until_the_end_and_no_part_is_left(tmp_path: Path, video: Video) -> None:
    out = tmp_path / "out"
    with OutputWriter.open(out, video, RUN) as writer:
        for frame in video.frames(0, 4):
            writer.write(frame, result_of(frame))
            assert record(out)["status"] == "running"
        writer.close("interrupted", "said by the caller")
    assert record(out)["reason"] == "said by the caller"
    assert not list(out.rglob("*.part"))


def test_ctrl_c_leaves_what_was_finished_readable(tmp_path: Path, video: Video) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        write_some(out, video, (5, 6, 7, 4), KeyboardInterrupt())
    result = record(out)
    assert (result["status"], result["overlay"]) == ("interrupted", "overlay.mp4")
    assert [frame["index"] for frame in result["frames"]] == [4, 5, 6, 7]
    assert open_video(out / "overlay.mp4").frame_count == 4


def test_an_error_keeps_the_finished_frames_and_tells_why(tmp_path: Path, video: Video) -> None:
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="broken"):
        write_some(out, video, (0,), ValueError("frame 1 is broken"))
    result = record(out)
    assert (result["status"], result["reason"], result["overlay"]) == ("interrupted", "frame 1 is broken", None)
    assert (out / "masks/0/00000.png").exists()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_run_without_one_frame_leaves_nothing(tmp_path: Path, video: Video, error: type[BaseException]) -> None:
    out = tmp_path / "out"
    with pytest.raises(error):
        write_some(out, video, (), error())
    assert not out.exists()


def test_a_run_that_stops_early_is_not_complete(tmp_path: Path, video: Video) -> None:
    with OutputWriter.open(tmp_path / "out", video, RUN) as writer:
        writer.write(video.read(0), result_of(video.read(0)))
    result = record(tmp_path / "out")
    assert (result["status"], result["reason"]) == ("interrupted", "1 of 10 frames were segmented")


def test_a_damaged_video_is_told(tmp_path: Path, write_video: VideoWriter) -> None:
    path = write_video("clip.mkv", frames=40)
    path.write_bytes(path.read_bytes()[:-400])
    video = open_video(path)
    assert video.truncated is not None
    write_all(tmp_path / "out", video)
    result = record(tmp_path / "out")
    assert (result["status"], result["reason"]) == ("truncated", video.truncated)
    assert len(result["frames"]) == video.frame_count < 40


def test_frames_of_several_sizes_get_masks_of_their_own_size(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, size in enumerate(((40, 60), (61, 33), (20, 90), (40, 60))):
        cv2.imwrite(str(folder / f"shot {number}.jpg"), np.full((*size, 3), 60 * number, np.uint8))
    video = open_video(folder)
    write_all(tmp_path / "out", video)
    for frame in video.frames():
        png = cv2.imread(str(tmp_path / f"out/masks/1/shot {frame.index}.png"), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(png > 0, masks_of(frame)[1])
    overlay = open_video(tmp_path / "out/overlay.mp4")
    assert (overlay.frame_count, overlay.size) == (4, (40, 60))


def test_a_full_disk_is_one_line_and_leaves_no_partial_file(tmp_path: Path, write_video: VideoWriter) -> None:
    path = write_video("clip.mkv", frames=4, size=(200, 300), codec="ffv1")
    script = f"""
        import resource, sys
        import numpy as np
        from glus_edge.runtime.errors import OutputError
        from glus_edge.runtime.output.writer import OutputWriter
        from glus_edge.runtime.loop.result import FrameResult, Scores
        from glus_edge.runtime.output.run_record import RunDescription
        from glus_edge.runtime.video.video import open_video
        video = open_video({str(path)!r})
        run = RunDescription("b", ("s",), "exact", "onnxruntime", {{}}, (), 0)
        noise = np.random.default_rng(0).random((1, 200, 300)) > 0.5
        scores = (Scores(1.0, 1.0, True, 0),)
        try:
            with OutputWriter.open({str(tmp_path / "out")!r}, video, run) as writer:
                for frame in video.frames():
                    if frame.index == 2:
                        # Larger files are refused from here on, as they would be on a full disk.
                        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, {resource.RLIM_INFINITY}))
                    writer.write(frame, FrameResult(frame.index, noise, scores, {{}}))
        except OutputError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 1
    assert "00002.png: the disk is full" in done.stdout
    assert sorted(path.name for path in (tmp_path / "out").rglob("*") if path.is_file()) == [
        "00000.png",
        "00001.png",
        "result.json",
    ]
    result = record(tmp_path / "out")
    assert result["status"] == "interrupted"
    assert "disk is full" in result["reason"]
    assert len(result["frames"]) == 2


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path, video: Video) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        OutputWriter.open(tmp_path / "file" / "out", video, RUN)


def test_the_overlay_is_what_browsers_play(tmp_path: Path, video: Video) -> None:
    write_all(tmp_path / "out", video)
    data = (tmp_path / "out/overlay.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # it starts to play before it is loaded
    with av.open(str(tmp_path / "out/overlay.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert (stream.width, stream.height) == (64, 50)


def test_a_path_that_is_no_text_is_recorded(tmp_path: Path, video: Video) -> None:
    """As Linux allows: bytes that are no UTF-8."""
    bundle = os.fsdecode(b"bundle \xff")
    with OutputWriter.open(tmp_path / "out", video, replace(RUN, bundle=bundle)):
        pass
    assert record(tmp_path / "out")["bundle"] == bundle


def test_a_video_with_a_hole_is_damaged_and_the_record_tells_where(tmp_path: Path, write_video: VideoWriter) -> None:
    path = write_video("clip.avi", codec="mjpeg", pixels="yuvj420p", frames=12)
    with av.open(str(path)) as container:
        packet = [bytes(packet) for packet in container.demux(video=0) if packet.size][5]
    path.write_bytes(path.read_bytes().replace(packet, bytes(len(packet))))
    write_all(tmp_path / "out", open_video(path))
    result = record(tmp_path / "out")
    assert result["status"] == "damaged"
    assert "1 picture(s) lost after frame 4 (0.20 s)" in result["reason"]
    (gap,) = result["video"]["gaps"]
    assert (gap["after_frame"], gap["before_frame"], gap["lost_pictures"]) == (4, 5, 1)
    assert (gap["after_s"], gap["before_s"]) == (0.2, 0.3)
    assert len(result["frames"]) == 11
