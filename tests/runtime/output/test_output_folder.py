import os
from pathlib import Path

import pytest

from glus_edge.runtime.errors import OutputError
from glus_edge.runtime.output.output_folder import check_output_folder
from glus_edge.runtime.output.writer import OutputWriter
from glus_edge.runtime.video.video import Video, open_video
from tests.runtime.output_runs import RUN, VideoWriter, record, result_of, write_all


@pytest.fixture
def video(write_video: VideoWriter) -> Video:
    return open_video(write_video(frames=10, size=(49, 63), codec="ffv1", name="clip.mkv"))


def test_an_existing_folder_is_refused(tmp_path: Path, video: Video) -> None:
    with pytest.raises(OutputError, match="exists already; choose another folder or pass --overwrite"):
        OutputWriter.open(tmp_path, video, RUN)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_in_the_folders_place_is_refused(tmp_path: Path, video: Video, overwrite: bool) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError, match="is no folder"):
        OutputWriter.open(tmp_path / "out", video, RUN, overwrite=overwrite)
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("content", [None, "{}", "not json", '{"format": "another"}', "[1]"])
def test_overwriting_spares_a_folder_that_is_not_ours(tmp_path: Path, video: Video, content: str | None) -> None:
    out = tmp_path / "out"
    (out / "masks/0").mkdir(parents=True)
    (out / "masks/0/00000.png").write_text("mine")
    if content is not None:
        (out / "result.json").write_text(content)
    with pytest.raises(OutputError, match=r"no result\.json of an earlier run"):
        OutputWriter.open(out, video, RUN, overwrite=True)
    assert (out / "masks/0/00000.png").read_text() == "mine"


def test_overwriting_removes_the_earlier_run_and_nothing_else(tmp_path: Path, video: Video) -> None:
    out = tmp_path / "out"
    write_all(out, video)
    (out / "notes.txt").write_text("mine")
    (out / "masks/0/notes.txt").write_text("mine")
    (out / "masks/5").mkdir()
    (out / "masks/5/00099.png").write_text("of an earlier run with more sentences")
    (out / "masks/0/00098.png.part").write_text("of a run that was killed")
    with OutputWriter.open(out, video, RUN, overwrite=True) as writer:
        assert not list(out.rglob("*.png"))
        assert not (out / "overlay.mp4").exists()
        assert record(out)["status"] == "running"
        writer.write(video.read(2), result_of(video.read(2)))
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()) == [
        "masks/0/00002.png",
        "masks/0/notes.txt",
        "masks/1/00002.png",
        "notes.txt",
        "overlay.mp4",
        "result.json",
    ]


def test_overwriting_an_empty_folder_needs_no_earlier_run(tmp_path: Path, video: Video) -> None:
    (tmp_path / "out").mkdir()
    write_all(tmp_path / "out", video, overwrite=True)
    assert record(tmp_path / "out")["status"] == "complete"


def test_a_name_that_no_folder_can_have_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be used .File name too long., expected a folder to create"):
        check_output_folder(tmp_path / ("o" * 300), overwrite=False)


def test_two_runs_never_share_a_folder(tmp_path: Path, video: Video) -> None:
    with OutputWriter.open(tmp_path / "out", video, RUN) as writer:
        writer.write(video.read(0), result_of(video.read(0)))
        before = (tmp_path / "out" / "result.json").read_bytes()
        with pytest.raises(OutputError, match="another run is writing to it"):
            OutputWriter.open(tmp_path / "out", video, RUN, overwrite=True)
        assert (tmp_path / "out" / "result.json").read_bytes() == before
        writer.close("interrupted", "said by the caller")
    with OutputWriter.open(tmp_path / "out", video, RUN, overwrite=True) as writer:
        writer.close("interrupted", "said by the caller")


def test_a_folder_whose_name_is_no_text_gets_masks_and_overlay(tmp_path: Path, video: Video) -> None:
    out = tmp_path / os.fsdecode(b"r\xe9s")
    with OutputWriter.open(out, video, RUN) as writer:
        for frame in video.frames(0, video.frame_count):
            writer.write(frame, result_of(frame))
    assert record(out)["status"] == "complete"
    assert (out / "overlay.mp4").stat().st_size > 0
