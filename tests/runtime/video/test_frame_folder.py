from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from glus_edge.runtime.errors import VideoError
from glus_edge.runtime.video.frame import FrameSize
from glus_edge.runtime.video.frame_folder import FrameFolder, natural_key, read_image
from glus_edge.runtime.video.video import open_video


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_frames_come_in_natural_order_with_their_own_names_and_sizes(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((10 + number, 20, 3), number, np.uint8))
    (tmp_path / "notes.txt").write_text("left alone")
    (tmp_path / ".hidden.png").write_text("left alone")
    (tmp_path / "sub").mkdir()
    video = open_video(tmp_path)
    assert video.stems == ("1", "2", "10")
    assert video.size == FrameSize(11, 20)
    assert float(video.frame_rate) == 10
    assert video.truncated is None
    frames = list(video.frames(2, -1, -1))
    assert [(frame.index, frame.rgb[0, 0, 0], frame.size.height) for frame in frames] == [
        (2, 10, 20),
        (1, 2, 12),
        (0, 1, 11),
    ]
    assert [frame.time for frame in frames] == pytest.approx([0.2, 0.1, 0.0])
    with pytest.raises(IndexError):
        video.read(3)


@given(numbers=st.lists(st.integers(0, 10**6), unique=True, min_size=1), width=st.integers(1, 8))
def test_numbered_names_sort_by_number_whatever_their_padding(numbers: list[int], width: int) -> None:
    names = [f"Frame_{number:0{width}d}.jpg" for number in numbers]
    assert sorted(names, key=natural_key) == [f"Frame_{number:0{width}d}.jpg" for number in sorted(numbers)]


@given(names=st.lists(st.text(max_size=12), unique=True))
def test_any_names_have_one_order(names: list[str]) -> None:
    backwards = names[::-1]
    assert sorted(names, key=natural_key) == sorted(backwards, key=natural_key)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG"])
def test_images_are_read_as_opencv_reads_them(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"frame{suffix}"
    Image.fromarray(noise(15, 21)).save(path)
    assert np.array_equal(read_image(path), cv2.imread(str(path))[..., ::-1])


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16", "1"])
def test_other_kinds_of_png_become_rgb_bytes(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "frame.png"
    image = Image.fromarray(noise(9, 7))
    image = Image.fromarray(np.arange(63, dtype=np.uint16).reshape(9, 7)) if mode == "I;16" else image.convert(mode)
    image.save(path)
    rgb = read_image(path)
    assert rgb.shape == (9, 7, 3)
    assert np.array_equal(rgb, cv2.imread(str(path))[..., ::-1])


def test_a_photo_is_turned_by_its_exif_orientation(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter to the right
    Image.fromarray(noise(10, 20)).save(path, exif=exif)
    assert read_image(path).shape == (20, 10, 3)


def jpeg_with_thumbnail(path: Path) -> None:
    """A JPEG whose application segment holds a whole JPEG of its own."""
    Image.fromarray(noise(60, 80)).save(path)
    data = path.read_bytes()
    path.with_suffix(".small.jpg").write_bytes(b"")
    Image.fromarray(noise(6, 8)).save(path.with_suffix(".small.jpg"))
    thumbnail = path.with_suffix(".small.jpg").read_bytes()
    path.with_suffix(".small.jpg").unlink()
    segment = b"\xff\xe5" + (2 + len(thumbnail)).to_bytes(2, "big") + thumbnail
    path.write_bytes(data[:2] + segment + data[2:])


@pytest.mark.parametrize("name", ["frame.jpg", "thumb.jpg", "frame.png"])
@pytest.mark.parametrize("part", [0.4, 0.9])
def test_an_image_cut_off_is_one_clear_error(tmp_path: Path, name: str, part: float) -> None:
    path = tmp_path / name
    if name == "thumb.jpg":
        jpeg_with_thumbnail(path)
    else:
        Image.fromarray(noise(60, 80)).save(path)
    assert read_image(path).shape == (60, 80, 3)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(VideoError, match="damaged or cut-off") as error:
        open_video(tmp_path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_png_with_broken_content_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "frame.png"
    Image.fromarray(noise(60, 80)).save(path)
    data = bytearray(path.read_bytes())
    data[100:4000] = bytes(3900)
    path.write_bytes(data)
    with pytest.raises(VideoError, match="damaged"):
        read_image(path)


def test_an_empty_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="an empty folder, expected JPEG, PNG or WebP"):
        open_video(tmp_path)


def test_a_folder_without_images_is_said(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"x")
    with pytest.raises(VideoError, match="none is a frame"):
        open_video(tmp_path)


def test_a_file_that_only_looks_like_an_image_is_said_at_once(tmp_path: Path) -> None:
    Image.fromarray(noise(6, 8)).save(tmp_path / "0.png")
    (tmp_path / "1.png").write_text("not an image")
    with pytest.raises(VideoError, match=r"1\.png: not a JPEG, PNG or WebP"):
        open_video(tmp_path)


def test_two_frames_of_one_name_are_said(tmp_path: Path) -> None:
    Image.fromarray(noise(6, 8)).save(tmp_path / "0.png")
    Image.fromarray(noise(6, 8)).save(tmp_path / "0.jpg")
    with pytest.raises(VideoError, match="share one mask file"):
        open_video(tmp_path)


def test_a_frame_that_may_not_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "1.png").write_bytes(b"")

    def refused(path: Path, *arguments: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(
        VideoError, match="1.png: cannot be read .Permission denied., expected a JPEG, PNG or WebP image"
    ):
        FrameFolder(tmp_path)


def test_a_name_that_no_file_can_have_is_said() -> None:
    with pytest.raises(VideoError, match="cannot be read .File name too long., expected a video file or a folder"):
        open_video("the sentence in place of the video, and at length " * 10)
