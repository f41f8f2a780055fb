"""Videos that are cut off, damaged, empty or none at all."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from glus_edge.runtime.errors import VideoError
from glus_edge.runtime.video.video import open_video
from tests.runtime.plain_decoding import sequential

VideoWriter = Callable[..., Path]


def coded_frames(path: Path) -> list[tuple[int, int]]:
    """Position and size in bytes of every coded frame, in the order they are stored."""
    with av.open(str(path)) as container:
        return [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]


def cut_within(path: Path, number: int) -> Path:
    """A copy that ends in the middle of a coded frame."""
    position, size = coded_frames(path)[number]
    short = path.with_name(f"cut_{path.name}")
    short.write_bytes(path.read_bytes()[: position + size // 2])
    return short


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("clip.mp4", "libx264", {"movflags": "+faststart"}),
        ("clip.mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}),
        ("clip.mkv", "libx264", {}),
        ("clip.avi", "mpeg4", {}),
        ("clip.webm", "libvpx-vp9", {}),
    ],
)
def test_a_video_cut_off_keeps_what_was_decoded_and_says_so(
    write_video: VideoWriter, name: str, codec: str, options: dict[str, str]
) -> None:
    path = write_video(name, codec=codec, container_options=options, options={"g": "12"}, frames=60)
    whole = sequential(path)
    video = open_video(cut_within(path, 36))
    assert 30 <= video.frame_count <= 40
    assert video.truncated is not None
    assert f"after {video.frame_count} frames" in video.truncated
    for frame in video.frames(video.frame_count - 1, -1, -1):
        assert np.array_equal(frame.rgb, whole[frame.index])


def test_damage_in_the_middle_ends_the_video_there(write_video: VideoWriter) -> None:
    path = write_video(frames=60, options={"g": "1000", "x264-params": "rc-lookahead=0"})
    whole = sequential(path)
    data = bytearray(path.read_bytes())
    position, size = coded_frames(path)[40]
    data[position : position + size] = bytes(size)
    path.write_bytes(data)
    video = open_video(path)
    assert 30 <= video.frame_count <= 44  # frames are stored out of order
    assert video.truncated is not None
    assert "cannot be decoded" in video.truncated
    for frame in video.frames(0, 36):
        assert np.array_equal(frame.rgb, whole[frame.index])


def one_line(error: pytest.ExceptionInfo[VideoError], path: Path) -> str:
    text = str(error.value)
    assert str(path) in text
    assert "\n" not in text
    return text


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(VideoError) as error:
        open_video(tmp_path / "none.mp4")
    assert "no such file" in one_line(error, tmp_path / "none.mp4")


@pytest.mark.parametrize("name", ["notes.txt", "table.csv", "film.mp4", "film.mkv"])
@pytest.mark.parametrize("content", [b"", b"hello world\n" * 50, bytes(range(256)) * 20])
def test_a_file_that_is_no_video_is_said(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(VideoError) as error:
        open_video(path)
    assert "expected a" in one_line(error, path)


def test_sound_without_pictures_is_said(tmp_path: Path) -> None:
    path = tmp_path / "song.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(VideoError) as error:
        open_video(path)
    assert "no video stream" in one_line(error, path)


def test_a_video_without_a_single_frame_is_said(write_video: VideoWriter) -> None:
    path = write_video("clip.mkv", frames=1)
    data = path.read_bytes()
    with av.open(str(path)) as container:
        packet = next(packet for packet in container.demux(video=0) if packet.size)
        start = data.index(bytes(packet))
    path.write_bytes(data[:start] + bytes(packet.size) + data[start + packet.size :])
    with pytest.raises(VideoError) as error:
        open_video(path)
    assert "not one frame" in one_line(error, path)


def test_sound_longer_than_the_pictures_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=20)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        for _ in range(10):
            container.mux(video.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(video.encode())
        for number in range(60):
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 400), np.int16), layout="mono")
            samples.sample_rate, samples.pts, samples.time_base = 8000, number * 400, Fraction(1, 8000)
            container.mux(sound.encode(samples))
        container.mux(sound.encode())
    opened = open_video(path)
    assert opened.frame_count == 10
    assert opened.truncated is None
