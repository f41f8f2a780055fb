import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glus_edge.runtime.errors import InputError
from glus_edge.runtime.video.frame import FrameSize
from glus_edge.runtime.video.video import open_video
from glus_edge.runtime.video.video_decoder import VideoDecoder
from glus_edge.runtime.video.video_file import VideoFile
from tests.runtime.plain_decoding import sequential

VideoWriter = Callable[..., Path]

CONTAINERS = [
    pytest.param("clip.mp4", "libx264", {"g": "10", "bf": "3"}, id="mp4-h264"),
    pytest.param("clip.mp4", "libx264", {"x264-params": "open-gop=1:keyint=8:bframes=3"}, id="open-gop"),
    pytest.param("clip.mp4", "libx264", {"x264-params": "intra-refresh=1:keyint=12"}, id="intra-refresh"),
    pytest.param("clip.mkv", "libx264", {}, id="mkv-one-key-frame"),
    pytest.param("clip.avi", "mpeg4", {"g": "7"}, id="avi-mpeg4"),
    pytest.param("clip.avi", "libx264", {"bf": "2"}, id="avi-h264-without-times"),
    pytest.param("clip.ts", "mpeg2video", {"g": "6", "bf": "2"}, id="transport-stream"),
    pytest.param("clip.webm", "libvpx-vp9", {"g": "9"}, id="webm-vp9"),
    pytest.param("clip.mov", "mjpeg", {}, id="mov-mjpeg"),
    pytest.param("clip.h264", "libx264", {}, id="raw-h264"),
]


@pytest.mark.parametrize(("name", "codec", "options"), CONTAINERS)
def test_every_way_to_a_frame_gives_the_same_picture(
    write_video: VideoWriter, name: str, codec: str, options: dict[str, str]
) -> None:
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = write_video(name, codec=codec, options=options, pixels=pixels)
    wanted = sequential(path)
    video = open_video(path)
    assert video.frame_count == len(wanted) == 30
    assert video.truncated is None
    orders = {
        "forwards": [(frame.index, frame.rgb) for frame in video.frames()],
        "backwards": [(frame.index, frame.rgb) for frame in video.frames(29, -1, -1)],
        "strided": [(frame.index, frame.rgb) for frame in video.frames(25, 3, -4)],
        "jumping": [(index, video.read(index).rgb) for index in (17, 3, 29, 0, 18, 19, 5)],
    }
    video.close()
    assert [index for index, _ in orders["forwards"]] == list(range(30))
    assert [index for index, _ in orders["backwards"]] == list(range(29, -1, -1))
    assert [index for index, _ in orders["strided"]] == list(range(25, 3, -4))
    for order, frames in orders.items():
        for index, rgb in frames:
            assert np.array_equal(rgb, wanted[index]), f"{order}: frame {index}"


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reads=st.lists(st.integers(0, 29), min_size=1, max_size=12))
def test_any_order_of_reads_gives_the_frames_asked_for(write_video: VideoWriter, reads: list[int]) -> None:
    path = write_video(options={"g": "8", "bf": "2"})
    wanted = sequential(path)
    video = open_video(path)
    for index in reads:
        assert np.array_equal(video.read(index).rgb, wanted[index])
    video.close()


def test_going_backwards_holds_no_more_frames_than_its_bound(write_video: VideoWriter) -> None:
    path = write_video(options={"g": "1000"})
    frame_bytes = 3 * 48 * 64
    video = VideoFile(path, backward_bytes=4 * frame_bytes)
    runs = []
    remaining = range(29, -1, -1)
    while remaining:
        runs.append(len(video._run(remaining)))
        remaining = remaining[runs[-1] :]
    assert max(runs) == 4
    assert [frame.index for frame in video.frames(29, -1, -1)] == list(range(29, -1, -1))
    video.close()


def test_an_iteration_and_reads_in_between_do_not_disturb_each_other(write_video: VideoWriter) -> None:
    path = write_video()
    wanted = sequential(path)
    video = open_video(path)
    for frame in video.frames():
        assert np.array_equal(frame.rgb, wanted[frame.index])
        assert np.array_equal(video.read(29 - frame.index).rgb, wanted[29 - frame.index])
    video.close()


def test_a_variable_frame_rate_shows_in_the_times(write_video: VideoWriter) -> None:
    times = [0, 40, 100, 500, 510, 900, 1700, 1733]
    video = open_video(write_video("clip.mkv", frames=8, times=times, options={"bf": "2"}))
    assert [frame.time for frame in video.frames()] == pytest.approx([time / 1000 for time in times])
    assert float(video.frame_rate) == pytest.approx(7 / 1.733, rel=1e-3)
    assert video.stems == ("00000", "00001", "00002", "00003", "00004", "00005", "00006", "00007")
    assert video.truncated is None


def test_a_constant_frame_rate_is_the_stated_one(write_video: VideoWriter) -> None:
    assert open_video(write_video("clip.mkv", rate=30)).frame_rate == Fraction(30)


def set_display_matrix(path: Path, quarter: tuple[int, int, int, int]) -> None:
    """Writes a, b, c, d of the matrix into an MP4's track header (ISO 14496-12, version 0)."""
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    for place, value in zip((0, 1, 3, 4), quarter, strict=True):
        struct.pack_into(">i", data, matrix + 4 * place, value << 16)
    path.write_bytes(data)


def as_displayed(rgb: np.ndarray, quarter: tuple[int, int, int, int]) -> np.ndarray:
    """Every pixel (x, y) at (a x + c y, b x + d y), moved to where both begin at 0."""
    a, b, c, d = quarter
    y, x = np.indices(rgb.shape[:2])
    new_x, new_y = a * x + c * y, b * x + d * y
    new_x, new_y = new_x - new_x.min(), new_y - new_y.min()
    shown = np.empty((new_y.max() + 1, new_x.max() + 1, 3), np.uint8)
    shown[new_y, new_x] = rgb
    return shown


@pytest.mark.parametrize(
    "quarter",
    [
        *((1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)),  # turned
        *((-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0), (0, -1, -1, 0)),  # mirrored
    ],
)
def test_a_turned_or_mirrored_video_is_read_upright(
    write_video: VideoWriter, quarter: tuple[int, int, int, int]
) -> None:
    path = write_video(options={"g": "10"})
    stored = sequential(path)
    set_display_matrix(path, quarter)
    upright = [as_displayed(rgb, quarter) for rgb in stored]
    video = open_video(path)
    assert video.size == FrameSize(*upright[0].shape[:2])
    for index in (0, 29, 12):
        frame = video.read(index)
        assert frame.size == video.size
        assert np.array_equal(frame.rgb, upright[index])


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "size"),
    [
        ("odd.mp4", "libx264", "yuv444p", (33, 47)),
        ("tiny.mkv", "ffv1", "yuv444p", (1, 1)),
        ("ten_bit.mkv", "ffv1", "yuv420p10le", (31, 50)),
        ("gray.mkv", "ffv1", "gray", (20, 30)),
        ("alpha.mov", "qtrle", "argb", (20, 30)),
        ("palette.gif", "gif", "rgb8", (20, 30)),
    ],
)
def test_sizes_and_pixel_formats_become_rgb_bytes(
    write_video: VideoWriter, name: str, codec: str, pixels: str, size: tuple[int, int]
) -> None:
    video = open_video(write_video(name, codec=codec, pixels=pixels, size=size, frames=5))
    frames = list(video.frames())
    assert [frame.rgb.shape for frame in frames] == [(*size, 3)] * 5
    assert all(frame.rgb.dtype == np.uint8 for frame in frames)
    brightness = [int(frame.rgb.mean()) for frame in frames]
    assert brightness == sorted(brightness)
    assert brightness[0] < brightness[-1]


def test_a_seek_that_lands_too_late_is_noticed(write_video: VideoWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(options={"g": "6"})
    wanted = sequential(path)
    video = open_video(path)
    seek = VideoDecoder.seek
    monkeypatch.setattr(VideoDecoder, "seek", lambda self, timestamp: seek(self, timestamp + 10**6))
    for index in (28, 7, 20, 1):
        assert np.array_equal(video.read(index).rgb, wanted[index])


def test_the_progress_of_indexing_is_told(write_video: VideoWriter) -> None:
    told: list[tuple[int | None, str]] = []

    def note(items, total, label):
        told.append((total, label))
        yield from items

    open_video(write_video(), note)
    assert told == [(30, "reading the video")]


def test_a_frame_outside_the_video_is_an_index_error(write_video: VideoWriter) -> None:
    video = open_video(write_video())
    for index in (-1, 30):
        with pytest.raises(IndexError, match="of 30"):
            video.read(index)


def two_streams(path: Path, sizes: tuple[tuple[int, int], ...], default: int | None) -> Path:
    with av.open(str(path), "w") as container:
        streams = []
        for number, (height, width) in enumerate(sizes):
            stream = container.add_stream("mpeg4", rate=10)
            stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
            stream.disposition = Disposition.default if number == default else Disposition(0)
            streams.append(stream)
        for stream in streams:
            for _ in range(3):
                container.mux(stream.encode(av.VideoFrame(stream.width, stream.height, "yuv420p")))
            container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("default", "asked", "size"),
    [(None, None, (96, 128)), (0, None, (48, 64)), (1, None, (96, 128)), (1, 0, (48, 64)), (0, 1, (96, 128))],
)
def test_the_stream_asked_for_is_read_else_the_default_else_the_largest(
    tmp_path: Path, default: int | None, asked: int | None, size: tuple[int, int]
) -> None:
    path = two_streams(tmp_path / "clip.mkv", ((48, 64), (96, 128)), default)
    video = open_video(path, stream=asked)
    assert video.size == FrameSize(*size)
    assert video.read(2).size == video.size
    assert [frame.index for frame in video.frames()] == [0, 1, 2]


def test_a_stream_that_is_not_there_is_said_with_those_that_are(tmp_path: Path) -> None:
    path = two_streams(tmp_path / "clip.mkv", ((48, 64), (96, 128)), None)
    with pytest.raises(InputError, match=r"--stream: got 2, expected .*: 0 \(64 x 48\), 1 \(128 x 96\)"):
        open_video(path, stream=2)
    with pytest.raises(InputError, match="--stream: got 0 for a folder"):
        open_video(tmp_path, stream=0)


@pytest.mark.parametrize("turned", [False, True])
def test_pixels_that_are_not_square_are_told(tmp_path: Path, turned: bool) -> None:
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2)
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(stream.encode())
    if turned:
        set_display_matrix(path, (0, 1, -1, 0))
    assert open_video(path).read(1).pixel_aspect == (Fraction(1, 2) if turned else 2)
