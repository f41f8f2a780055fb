"""Videos that are cut off, damaged, empty or none at all."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from glus_edge.runtime.errors import VideoError
from glus_edge.runtime.video.video import damage, open_video
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


def destroy(path: Path, *numbers: int) -> None:
    """Fills the content of coded frames with zeros."""
    data = path.read_bytes()
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    for number in numbers:
        begin = data.index(packets[number])
        data = data[:begin] + bytes(len(packets[number])) + data[begin + len(packets[number]) :]
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("clip.avi", "mjpeg", "yuvj420p"),
        ("clip.mp4", "libx264", "yuv420p"),
        ("clip.webm", "libvpx-vp9", "yuv420p"),
        ("clip.mkv", "libsvtav1", "yuv420p"),
    ],
)
def test_a_film_goes_on_behind_what_cannot_be_decoded(
    write_video: VideoWriter, name: str, codec: str, pixels: str
) -> None:
    path = write_video(name, codec=codec, pixels=pixels, frames=40, options={"g": "10", "bf": "0"})
    whole = sequential(path)
    destroy(path, 20)  # a key frame
    video = open_video(path)
    assert video.truncated is None
    (gap,) = video.gaps
    assert gap.lost_pictures == 40 - video.frame_count >= 1
    assert (gap.next_frame, gap.after_s) == (20, pytest.approx(0.95))
    assert gap.before_s == pytest.approx(1.0 + 0.05 * gap.lost_pictures)
    record = gap.record()
    assert (record["after_frame"], record["before_frame"]) == (19, 20)
    for frame in video.frames(video.frame_count - 1, -1, -1):
        number = round(frame.time * 20)
        if frame.index < gap.next_frame or frame.index >= gap.intact_from:
            assert np.array_equal(frame.rgb, whole[number])
        assert np.array_equal(video.read(frame.index).rgb, frame.rgb)


def test_a_film_whose_first_key_frame_is_destroyed_has_a_gap_at_its_beginning(write_video: VideoWriter) -> None:
    path = write_video("clip.webm", codec="libvpx-vp9", frames=30, options={"g": "10"})
    destroy(path, 0)
    video = open_video(path)
    (gap,) = video.gaps
    assert (gap.next_frame, gap.after_s, gap.record()["after_frame"]) == (0, None, None)
    assert gap.lost_pictures == 30 - video.frame_count >= 1


def test_holes_beside_and_apart_from_each_other_are_told_apart(write_video: VideoWriter) -> None:
    path = write_video("clip.avi", codec="mjpeg", pixels="yuvj420p", frames=20)
    destroy(path, 3, 4, 9, 19)
    video = open_video(path)
    assert video.frame_count == 16
    assert [(gap.next_frame, gap.lost_pictures) for gap in video.gaps] == [(3, 2), (7, 1), (16, 1)]
    assert video.gaps[-1].record()["before_frame"] is None
    said = damage(video)
    assert said is not None
    assert "gap 1 of 3: 2 picture(s) lost after frame 2 (0.10 s)" in said


def test_damage_in_a_film_of_one_key_frame_leaves_the_rest_and_says_what_may_show_traces(
    write_video: VideoWriter,
) -> None:
    path = write_video(frames=60, options={"g": "1000", "x264-params": "rc-lookahead=0"})
    whole = sequential(path)
    destroy(path, 40)
    video = open_video(path)
    (gap,) = video.gaps
    assert gap.lost_pictures == 60 - video.frame_count == 1
    assert 36 <= gap.next_frame <= 44  # frames are stored out of order
    assert gap.intact_from in (49, video.frame_count)  # the encoder may begin anew where the brightness leaps
    for frame in video.frames(0, 36):
        assert np.array_equal(frame.rgb, whole[frame.index])


@pytest.mark.parametrize(
    ("name", "codec"), [("clip.mp4", "libx264"), ("clip.mkv", "libx264"), ("clip.avi", "mpeg4"), ("clip.mov", "mpeg4")]
)
def test_a_cut_between_two_frames_is_seen(write_video: VideoWriter, name: str, codec: str) -> None:
    options = {"movflags": "+faststart"} if name.endswith(("mp4", "mov")) else {}
    path = write_video(name, codec=codec, container_options=options, options={"bf": "0"}, frames=40)
    position, _ = coded_frames(path)[30]
    path.write_bytes(path.read_bytes()[:position])
    video = open_video(path)
    assert 28 <= video.frame_count <= 30
    assert video.truncated is not None
    assert video.gaps == ()


@pytest.mark.parametrize("from_block", [-2, 0])
def test_a_matroska_file_whose_structure_is_broken_has_a_gap(write_video: VideoWriter, from_block: int) -> None:
    path = write_video("clip.mkv", frames=40, options={"g": "5"}, container_options={"cluster_time_limit": "500"})
    whole = sequential(path)
    data = bytearray(path.read_bytes())
    position, _ = coded_frames(path)[12]
    data[position + from_block : position + 4] = bytes(4 - from_block)  # the head of a block, not its content
    path.write_bytes(data)
    video = open_video(path)
    assert video.truncated is None
    (gap,) = video.gaps
    assert 0 < gap.next_frame < video.frame_count < 40
    assert "structure is broken at byte" in gap.reason
    assert np.array_equal(video.read(video.frame_count - 1).rgb, whole[39])


def test_subtitles_longer_than_the_pictures_are_no_damage(tmp_path: Path, write_video: VideoWriter) -> None:
    film = write_video("film.mkv", frames=3)
    titles = tmp_path / "titles.srt"
    titles.write_text("1\n00:00:25,000 --> 00:00:30,000\nThe end\n\n")
    path = tmp_path / "both.mkv"
    with av.open(str(film)) as pictures, av.open(str(titles)) as texts, av.open(str(path), "w") as both:
        inputs = (pictures.streams.video[0], texts.streams[0])
        outputs = [both.add_stream_from_template(stream) for stream in inputs]
        for container, stream, output in zip((pictures, texts), inputs, outputs, strict=True):
            for packet in container.demux(stream):
                if packet.size:
                    packet.stream = output
                    both.mux(packet)
    video = open_video(path)
    assert (video.frame_count, video.truncated, video.gaps) == (3, None, ())


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


def test_a_transport_stream_of_which_packets_are_missing_has_a_gap_and_a_joined_one_has_none(
    write_video: VideoWriter,
) -> None:
    path = write_video("clip.ts", codec="mpeg2video", frames=40, options={"g": "6"})
    data = path.read_bytes()
    third = len(data) // 188 // 3 * 188
    path.write_bytes(data[:third] + data[third + 4 * 188 :])
    video = open_video(path)
    (gap,) = video.gaps
    assert gap.lost_pictures == 40 - video.frame_count >= 1
    assert "a part of the file is missing" in gap.reason
    path.write_bytes(data + data)
    video = open_video(path)
    assert (video.frame_count, video.truncated, video.gaps) == (80, None, ())
