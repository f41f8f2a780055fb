"""Inputs of many kinds, and what is right for each: how many frames, in which order, with which status and message."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from av.stream import Disposition

from glus_edge.runtime.errors import VideoError
from glus_edge.runtime.video.video import open_video
from tests.runtime.corpus import (
    SIZE,
    animation,
    cut,
    destroyed,
    empty_png,
    film,
    film_with_companion,
    folder,
    numbers,
    pipe,
    still,
)
from tests.runtime.output_runs import record, write_all

ALL = range(8)


@dataclass(frozen=True)
class Case:
    """An input that is read."""

    name: str
    make: Callable[[Path], Path]  # from an empty folder
    order: Sequence[int] = ALL  # numbers of the pictures that are to come
    status: str = "complete"
    message: str = ""  # a pattern that result.json's reason fits


@dataclass(frozen=True)
class Refused:
    """An input that is refused in one line."""

    name: str
    make: Callable[[Path], Path]
    message: str  # a pattern


def written(name: str, content: bytes) -> Callable[[Path], Path]:
    """A file of these bytes."""

    def make(at: Path) -> Path:
        (at / name).write_bytes(content)
        return at / name

    return make


def with_extra(at: Path, name: str, content: bytes | None) -> Path:
    """A folder of three frames and one more entry; without content, a link that leads nowhere."""
    folder(at / "f", "0.png", "1.png", "2.png")
    entry = at / "f" / name
    if content is None:
        entry.symlink_to("gone")
    else:
        entry.write_bytes(content)
    return at / "f"


def appended(path: Path, content: bytes) -> Path:
    path.write_bytes(path.read_bytes() + content)
    return path


def sparse(path: Path) -> Path:
    with path.open("wb") as file:
        file.truncate(1 << 31)
    return path


def loop(at: Path) -> Path:
    (at / "a").symlink_to("b")
    (at / "b").symlink_to("a")
    return at / "a"


def renamed(path: Path, name: bytes) -> Path:
    new = path.with_name(name.decode(errors="surrogateescape"))
    path.rename(new)
    return new


ENCRYPTED = {
    "encryption_scheme": "cenc-aes-ctr",
    "encryption_key": "00112233445566778899aabbccddeeff",
    "encryption_kid": "00112233445566778899aabbccddeeff",
}

READ = [
    Case("B-frames in MP4", lambda at: film(at / "a.mp4", options={"bf": "3", "g": "100"})),
    Case("fragments", lambda at: film(at / "a.mp4", container_options={"movflags": "frag_keyframe+empty_moov"})),
    Case("without an edit list", lambda at: film(at / "a.mp4", container_options={"use_editlist": "0"})),
    Case("times that vary", lambda at: film(at / "a.mkv", times=(0, 10, 500, 510, 4000, 4001, 4010, 9000))),
    Case("times below zero", lambda at: film(at / "a.mkv", times=range(-300, 500, 100), codec="mpeg4")),
    Case("times far from zero", lambda at: film(at / "a.ts", codec="mpeg2video")),
    Case("no times", lambda at: film(at / "a.h264")),
    Case("interlaced", lambda at: film(at / "a.mkv", options={"x264-params": "interlaced=1"})),
    Case("odd sides", lambda at: film(at / "a.mkv", codec="ffv1", pixels="yuv444p", size=(33, 47))),
    Case("ten bits", lambda at: film(at / "a.mkv", codec="ffv1", pixels="yuv420p10le")),
    Case("alpha", lambda at: film(at / "a.mov", codec="qtrle", pixels="argb")),
    Case("grey", lambda at: film(at / "a.mkv", codec="ffv1", pixels="gray")),
    Case("pixels 2:1", lambda at: film(at / "a.mp4", aspect=2)),
    Case("GIF", lambda at: film(at / "a.gif", codec="gif", pixels="rgb8")),
    Case("animated PNG", lambda at: animation(at / "a.png")),
    Case("AVIF sequence", lambda at: animation(at / "a.avif")),
    Case("a cover beside a film", lambda at: film_with_companion(at / "a.mkv", Disposition.attached_pic, first=True)),
    Case("a larger stream first", lambda at: film_with_companion(at / "a.mkv", Disposition(0), first=True)),
    Case("a larger stream last", lambda at: film_with_companion(at / "a.mkv", Disposition(0), first=False)),
    Case("JPEG as a film", lambda at: still(at / "a.jpg", 3), (3,)),
    Case("JPEG with an orientation", lambda at: still(at / "a.jpg", 3, orientation=7), (3,)),
    Case("MPO", lambda at: animation(at / "a.mpo"), (0,)),
    Case("TIFF of one page", lambda at: still(at / "a.tiff", 2), (2,)),
    Case("a pattern for a name", lambda at: film(at / "a%03d.mkv")),
    Case("a dash first", lambda at: film(at / "-a.mkv")),
    Case("a name that is not UTF-8", lambda at: renamed(film(at / "a.mkv"), b"r\xe9s.mkv")),
    Case("a very long name", lambda at: renamed(film(at / "a.mkv"), b"n" * 251 + b".mkv")),
    Case(
        "a hole",
        lambda at: destroyed(film(at / "a.avi", codec="mjpeg", pixels="yuvj420p"), 3),
        (0, 1, 2, 4, 5, 6, 7),
        "damaged",
        r"1 picture\(s\) lost after frame 2 \(0\.20 s\): cannot be decoded",
    ),
    Case(
        "holes at both ends",
        lambda at: destroyed(film(at / "a.avi", codec="mjpeg", pixels="yuvj420p"), 0, 7),
        range(1, 7),
        "damaged",
        r"gap 1 of 2: 1 picture\(s\) lost after the beginning.*gap 2 of 2: .* after frame 5",
    ),
    Case(
        "a destroyed key frame of VP9",
        lambda at: destroyed(film(at / "a.webm", codec="libvpx-vp9", options={"g": "4"}), 4),
        range(7),  # those behind the hole are made of what came before it, and show it
        "damaged",
        r"lost after frame 3 \(0\.30 s\).*frames 4 to 6 may show traces",
    ),
    Case(
        "cut between two frames",
        lambda at: cut(film(at / "a.mp4", codec="mpeg4", container_options={"movflags": "+faststart"}), 5),
        range(5),
        "truncated",
        r"after 5 frames came the end of the file at \d+ bytes of the \d+ it states",
    ),
    Case("natural order", lambda at: folder(at / "f", "1.png", "2.png", "10.png"), range(3)),
    Case("order whatever the case", lambda at: folder(at / "f", "a1.png", "B2.png", "b3.PNG", "C4.png"), range(4)),
    Case("kinds mixed", lambda at: folder(at / "f", "0.jpg", "1.webp", "2.png", "3.jfif"), range(4)),
    Case("notes beside frames", lambda at: with_extra(at, "notes.txt", b"x"), range(3)),
    Case("a hidden file beside frames", lambda at: with_extra(at, "._0.png", b"x"), range(3)),
    Case("bytes behind a PNG", lambda at: appended(still(at / "f/0.png"), bytes(5000)).parent, (0,)),
    Case("sixteen bits", lambda at: still(at / "f/0.png", 4, mode="I;16").parent, (4,)),
    Case("CMYK", lambda at: still(at / "f/0.jpg", 4, mode="CMYK").parent, (4,)),
    Case("grey JPEG", lambda at: still(at / "f/0.jpg", 4, mode="L").parent, (4,)),
    Case("a palette", lambda at: still(at / "f/0.png", 4, mode="P").parent, (4,)),
    Case("alpha in a PNG", lambda at: still(at / "f/0.png", 4, mode="RGBA").parent, (4,)),
    Case("a turned frame", lambda at: still(at / "f/0.jpg", 4, orientation=6).parent, (4,)),
    Case("a frame that is not UTF-8", lambda at: renamed(still(at / "f/0.png"), b"r\xe9s.png").parent, (0,)),
    Case("a frame of 255 bytes", lambda at: renamed(still(at / "f/0.png"), b"n" * 251 + b".png").parent, (0,)),
]

REFUSED = [
    Refused("animated WebP", lambda at: animation(at / "a.webp"), "an animated WebP, which FFmpeg does not decode"),
    Refused("TIFF of several pages", lambda at: animation(at / "a.tiff"), "a TIFF of several pages"),
    Refused("encrypted MP4", lambda at: film(at / "a.mp4", container_options=ENCRYPTED), "an encrypted video"),
    Refused(
        "encrypted by OpenSSL",
        written("a.mp4", b"Salted__" + bytes(99)),
        "a file encrypted by OpenSSL, expected a video",
    ),
    Refused("Git LFS pointer", written("a.mp4", b"version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
    Refused("ZIP archive", written("a.mp4", b"PK\x03\x04" + bytes(99)), "a ZIP archive"),
    Refused("web page", written("a.mp4", b"<!doctype html><title>404</title>"), "a web page"),
    Refused("SVG", written("a.svg", b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'), "no decoder"),
    Refused("zero bytes", written("a.mp4", b""), "not a video that can be read"),
    Refused("a sparse file", lambda at: sparse(at / "a.mp4"), "not a video that can be read"),
    Refused("text", written("a.txt", b"hello\n" * 99), "expected a video file"),
    Refused("a pipe", lambda at: pipe(at / "a.mp4"), "got a pipe, expected a video file"),
    Refused("a device", lambda at: Path("/dev/zero"), "got a device, expected a video file"),
    Refused("links in a circle", loop, "cannot be read .Too many levels"),
    Refused("a link to nowhere", lambda at: with_extra(at, "3.png", None), r"3\.png: a link that leads nowhere"),
    Refused("a GIF among frames", lambda at: with_extra(at, "3.gif", b"GIF89a"), r"3\.gif: a gif picture, expected"),
    Refused("a text among frames", lambda at: with_extra(at, "3.png", b"no image at all"), "not a JPEG, PNG or WebP"),
    Refused("a huge picture", lambda at: empty_png(at / "f/0.png", 33_000, 33_000).parent, "at most 134217728 pixels"),
    Refused("a huge film", lambda at: empty_png(at / "a.png", 12_000, 12_000), "at most 134217728 pixels"),
    Refused("a strip", lambda at: empty_png(at / "f/0.png", 65_000, 2).parent, "sides of 1 : 256 at most"),
    Refused(
        "animated PNG in a folder", lambda at: animation(folder(at / "f", "1.png") / "0.png").parent, "an animated"
    ),
    Refused("animated WebP in a folder", lambda at: animation(folder(at / "f", "1.png") / "0.webp").parent, "animated"),
    Refused("a cut-off JPEG", lambda at: shortened(still(at / "f/0.jpg")).parent, "damaged or cut-off image"),
    Refused("two frames of one name", lambda at: folder(at / "f", "0.png", "0.jpg"), "share one mask file"),
    Refused(
        "a frame without a suffix",
        lambda at: renamed(folder(at / "f", "0.png", "1.png") / "1.png", b"1").parent,
        "name does not say so",
    ),
]


def shortened(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-200])
    return path


@pytest.mark.parametrize("case", READ, ids=lambda case: case.name)
def test_an_input_gives_its_frames_its_status_and_its_message(tmp_path: Path, case: Case) -> None:
    path = case.make(tmp_path)
    video = open_video(path)
    try:
        assert video.frame_count == len(case.order)
        assert numbers(video) == list(case.order)
        write_all(tmp_path / "out", video)
    finally:
        video.close()
    result = record(tmp_path / "out")
    assert result["status"] == case.status
    assert len(result["frames"]) == len(case.order)
    assert re.search(case.message, result["reason"] or "")
    assert (result["reason"] is None) == (case.status == "complete")


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_an_input_is_refused_in_one_line(tmp_path: Path, case: Refused) -> None:
    path = case.make(tmp_path)
    with pytest.raises(VideoError) as error:
        open_video(path)
    assert re.search(case.message, str(error.value))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_alike_as_a_frame_and_as_a_film(tmp_path: Path, orientation: int) -> None:
    path = still(tmp_path / "f" / "0.jpg", orientation=orientation)
    assert open_video(path).size == open_video(path.parent).size == (SIZE if orientation < 5 else SIZE[::-1])
