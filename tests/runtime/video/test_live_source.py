import http.server
import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.packet import Packet
from hypothesis import given
from hypothesis import strategies as st

from glus_edge.runtime.errors import InputError, VideoError
from glus_edge.runtime.video import live_source, video_address, video_decoder
from glus_edge.runtime.video.live_source import LiveSource, SourceClock, SourceEvent
from glus_edge.runtime.video.video_address import VideoAddress
from glus_edge.runtime.video.video_decoder import VideoDecoder
from tests.runtime.conftest import picture
from tests.runtime.corpus import destroyed
from tests.runtime.plain_decoding import sequential

VideoWriter = Callable[..., Path]


class Server(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        """A file whose name begins with `stall` is sent by two thirds, and then nothing for a while."""
        path = Path(self.directory) / self.path[1:]
        if not self.path.startswith("/stall") or not path.is_file():
            super().do_GET()
            return
        content = path.read_bytes()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(content[: len(content) * 2 // 3])
        time.sleep(1.5)


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """The test's folder on the network."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_file_comes_at_its_own_pace_and_whole_if_we_keep_up(write_video: VideoWriter) -> None:
    path = write_video(frames=8, rate=20)
    with LiveSource(str(path)) as source:
        arrivals = list(source)
    frames = sequential(path)
    assert source.seen == 8
    assert arrivals[0].number == 0
    for arrival in arrivals:
        assert arrival.time == pytest.approx(arrival.number / 20)
        assert arrival.arrived - arrivals[0].arrived >= arrival.time - 0.001  # never early
        assert np.array_equal(arrival.rgb, frames[arrival.number])


def test_frames_that_come_while_we_are_busy_are_passed_over(write_video: VideoWriter) -> None:
    with LiveSource(str(write_video(frames=12, rate=100))) as source:
        arrivals = iter(source)
        first = next(arrivals)
        source._thread.join()  # busy until all have come
        assert [arrival.number for arrival in arrivals] == [11]
        assert first.number < 11
        assert source.seen == 12


def test_the_last_frames_of_a_reordering_codec_have_times(write_video: VideoWriter) -> None:
    path = write_video(frames=8, rate=100, options={"bf": "3"})
    with LiveSource(str(path)) as source:
        source._thread.join()
        (last,) = source
    assert last.time == pytest.approx(0.07)


def test_a_stream_from_the_network_is_read(write_video: VideoWriter, address: str) -> None:
    path = write_video("clip.ts", frames=6)
    with LiveSource(f"{address}/clip.ts") as source:
        source._thread.join()
        (last,) = source
    assert np.array_equal(last.rgb, sequential(path)[5])
    assert last.number == 5


def test_a_source_that_is_not_there_is_one_line(address: str) -> None:
    for text in (f"{address}/missing.ts", "/dev/video255", "rtsp://127.0.0.1:1/x"):
        with pytest.raises(
            VideoError, match="not a video that can be read .*, expected a camera or stream that is there"
        ):
            LiveSource(text)


def test_a_stream_that_breaks_off_says_so_after_its_frames(write_video: VideoWriter) -> None:
    whole = write_video("clip.mkv", frames=40, options={"g": "5"})
    path = whole.with_name("short.mkv")
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    with LiveSource(str(path)) as source:
        source._thread.join()
        arrivals = iter(source)
        assert next(arrivals).number < 39
        with pytest.raises(VideoError, match=r"short.mkv: after \d+ frames came .*, expected it to go on"):
            next(arrivals)


def test_a_source_is_let_go_in_the_middle(write_video: VideoWriter) -> None:
    with LiveSource(str(write_video(frames=40, rate=20))) as source:
        next(iter(source))
    assert not source._thread.is_alive()
    assert source.seen < 40


def test_a_server_that_stalls_is_given_up_and_said(
    write_video: VideoWriter, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_address, "OPENING_S", 0.4)
    monkeypatch.setattr(video_address, "PATIENCE_S", 0.2)
    write_video("stall.ts", frames=30)
    with LiveSource(f"{address}/stall.ts") as source:
        source._thread.join()
        arrivals = iter(source)
        assert next(arrivals).number < 29
        with pytest.raises(VideoError, match=r"cannot be read \(no data came in time\), expected it to go on"):
            next(arrivals)


class Unseekable:
    """As a server writes a stream: what stands at its beginning is never mended."""

    def __init__(self) -> None:
        self.content = io.BytesIO()

    def write(self, data: bytes) -> int:
        return self.content.write(data)


def test_a_live_stream_that_states_no_seconds_is_not_held_back(tmp_path: Path, address: str) -> None:
    target = Unseekable()
    with av.open(target, "w", format="flv") as container:
        stream: Any = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(40):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(index, 48, 64), format="rgb24")))
        container.mux(stream.encode())
    (tmp_path / "live.flv").write_bytes(target.content.getvalue())
    decoder = VideoDecoder(video_address.video_address(f"{address}/live.flv"))
    assert decoder.stated_length() == 0
    decoder.close()
    with LiveSource(f"{address}/live.flv") as source:
        source._thread.join(2)  # of the four seconds it shows
        assert source.seen == 40


def test_a_stream_that_is_lost_is_found_again(
    write_video: VideoWriter, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_address, "PATIENCE_S", 0.2)
    monkeypatch.setattr(live_source, "_FIRST_WAIT_S", 0.01)
    path = write_video("stall.ts", frames=30)
    with LiveSource(f"{address}/stall.ts", reconnect_s=30) as source:
        numbers, times = [], []
        for arrival in source:
            numbers.append(arrival.number)
            times.append(arrival.time)
            if source.lost == 2:
                break
        path.unlink()  # the server has nothing more to send
        source._reconnect_s = 0.1
        with pytest.raises(VideoError, match="expected it to go on"):
            numbers.extend(arrival.number for arrival in source)
    assert source.lost >= 2
    assert source.seen >= 45
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == source.seen - 1
    assert all(earlier < later for earlier, later in pairwise(times))


@pytest.mark.parametrize("network", [False, True])
def test_a_recording_is_not_sought_again(write_video: VideoWriter, address: str, network: bool) -> None:
    path = write_video("whole.ts", frames=4, rate=50)
    with LiveSource(f"{address}/whole.ts" if network else str(path), reconnect_s=30) as source:
        assert [arrival.number for arrival in source][-1] == 3
        assert source.lost == 0


def test_a_stream_that_has_no_end_is_sought_where_it_ends(
    write_video: VideoWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_source, "_FIRST_WAIT_S", 0.01)
    path = write_video("camera.ts", frames=4)
    camera = VideoAddress("a camera", str(path), live=True, endless=True)
    monkeypatch.setattr(live_source, "video_address", lambda text: camera)
    monkeypatch.setattr(VideoDecoder, "stated_length", lambda self: None)
    with LiveSource("camera", reconnect_s=30) as source:
        next(arrival for arrival in source if source.lost == 3)


def test_a_stream_of_which_nothing_can_be_made_is_given_up(
    write_video: VideoWriter, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_decoder, "_BLIND_S", 0.0)
    monkeypatch.setattr(VideoDecoder, "_packets", lambda self: map(Torn, range(3)))
    write_video("live.ts", frames=10)
    with LiveSource(f"{address}/live.ts") as source, pytest.raises(VideoError, match="cannot be decoded"):
        list(source)


class Torn:
    """A packet that cannot be decoded."""

    is_keyframe = False

    def __init__(self, number: int) -> None:
        """Any number."""

    def decode(self) -> list[Any]:
        raise av.error.InvalidDataError(1, "Invalid data")


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_a_patience_that_is_none_is_refused(seconds: float) -> None:
    with pytest.raises(InputError, match="reconnect: got"):
        LiveSource("0", reconnect_s=seconds)


def test_a_cameras_frames_outlive_it(write_video: VideoWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device's packets are its own memory, which raw frames would only be views of."""
    path = write_video("raw.nut", frames=4, codec="rawvideo", pixels="yuyv422")
    packets = VideoDecoder._packets
    lent: list[tuple[int, int]] = []

    def noted(decoder: VideoDecoder) -> Iterator["Packet[Any]"]:
        for packet in packets(decoder):
            lent.append((packet.buffer_ptr, packet.buffer_ptr + packet.buffer_size))
            yield packet

    monkeypatch.setattr(VideoDecoder, "_packets", noted)

    def shared(lends: bool) -> list[bool]:
        lent.clear()
        decoder = VideoDecoder(VideoAddress("camera", str(path), live=True, lends=lends))
        found = []
        for number, frame in enumerate(decoder.frames()):
            first, last = lent[-1]
            found.append(first <= frame.planes[0].buffer_ptr < last)
            assert frame.pts is not None
            assert float(frame.pts * decoder.stream.time_base) == pytest.approx(number / 20)
        decoder.close()
        return found

    assert shared(lends=False) == [True] * 4
    assert shared(lends=True) == [False] * 4
    assert video_address.video_address("0").lends


def test_a_pyav_that_reads_no_cameras_says_so() -> None:
    with pytest.raises(
        VideoError, match="camera: got no container format 'v4l3' in this PyAV, expected one that reads"
    ):
        VideoDecoder(VideoAddress("camera", "/dev/video0", live=True, container="v4l3"))


@given(st.lists(st.none() | st.floats(-1e14, 1e14), min_size=1), st.floats(1e-4, 10))
def test_a_sources_time_never_goes_back_and_never_leaps(stamps: list[float | None], step: float) -> None:
    clock = SourceClock(step)
    times = [clock.seconds(stamp) for stamp in stamps]
    assert times[0] == 0
    assert all(0 <= later - earlier <= 3601 for earlier, later in pairwise(times))


def test_a_clock_that_was_set_goes_on_by_one_frame() -> None:
    clock = SourceClock(0.1)
    times = [clock.seconds(stamp) for stamp in (50.0, 50.2, None, 50.4, 3.0, 3.5, 95_000.0, 95_000.1)]
    assert times == pytest.approx([0, 0.2, 0.3, 0.4, 0.5, 1.0, 1.1, 1.2])


def test_a_source_that_was_away_comes_back_as_much_later() -> None:
    clock = SourceClock(0.1)
    assert [clock.seconds(stamp) for stamp in (7.0, 7.1)] == pytest.approx([0, 0.1])
    clock.resume(8.6)
    assert [clock.seconds(stamp) for stamp in (0.0, 0.1, None)] == pytest.approx([8.7, 8.8, 8.9])
    clock.resume(0.0)
    assert clock.seconds(None) == pytest.approx(9.0)


@pytest.fixture
def camera(write_video: VideoWriter, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A camera that closes its connection after four frames."""
    monkeypatch.setattr(live_source, "_FIRST_WAIT_S", 0.01)
    path = write_video("camera.ts", frames=4)
    address = VideoAddress("a camera", str(path), live=True, endless=True)
    monkeypatch.setattr(live_source, "video_address", lambda text: address)
    monkeypatch.setattr(VideoDecoder, "stated_length", lambda self: None)
    return path


def test_a_camera_that_ends_for_good_is_lost(camera: Path) -> None:
    events: list[SourceEvent] = []
    with LiveSource("camera", listener=events.append) as source, pytest.raises(VideoError, match="the source ended"):
        list(source)
    assert [event.event for event in events] == ["source_lost"]
    assert events[0].reason == "a camera: after 4 frames the source ended"


def test_loss_attempts_and_return_are_told_and_time_keeps_the_gap(camera: Path) -> None:
    events: list[SourceEvent] = []
    away = camera.with_suffix(".away")

    def heard(event: SourceEvent) -> None:
        events.append(event)
        if event.event == "source_lost" and len(events) == 1:
            camera.rename(away)
        if event.event == "source_sought" and len(events) == 3:
            away.rename(camera)

    with LiveSource("camera", reconnect_s=30, listener=heard) as source:
        back = next(arrival for arrival in source if source.lost == 1 and arrival.number >= 4)
    assert [event.event for event in events[:4]] == ["source_lost", "source_sought", "source_sought", "source_found"]
    assert "No such file" in (events[1].reason or "")
    assert back.time >= events[3].time + events[3].away_s


def test_what_a_live_source_could_not_decode_is_told_with_the_next_frame(write_video: VideoWriter) -> None:
    path = destroyed(write_video("clip.avi", codec="mjpeg", pixels="yuvj420p", frames=12, rate=100), 4, 5)
    with LiveSource(str(path)) as source:
        source._thread.join()
        (last,) = source
    (gap,) = last.gaps
    assert (gap.next_frame, gap.lost_pictures) == (4, 2)
    assert (gap.after_s, gap.before_s) == (pytest.approx(0.03), pytest.approx(0.06))
    assert (source.gaps, source.lost_pictures, source.first_gap) == (1, 2, gap)


def test_a_pipe_is_read_once_and_forwards(write_video: VideoWriter, tmp_path: Path) -> None:
    path = write_video("clip.ts", frames=6, rate=100)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(path.read_bytes()))
    writer.start()
    with LiveSource(str(pipe)) as source:
        source._thread.join()
        (last,) = source
    writer.join()
    assert np.array_equal(last.rgb, sequential(path)[5])


def test_a_pipe_into_which_nobody_writes_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_decoder, "OPENING_S", 0.1)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(VideoError, match="nothing was written into it for 0.1 s"):
        LiveSource(str(pipe))


def test_a_source_of_segments_is_paced_by_its_own_clock(
    write_video: VideoWriter, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_address, "OPENING_S", 2.0)  # it waits for more segments than there are
    monkeypatch.setattr(video_address, "PATIENCE_S", 0.2)
    write_video("clip.ts", frames=10, rate=20)
    (tmp_path / "live.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:0.5,\nclip.ts\n")
    with LiveSource(f"{address}/live.m3u8") as source:
        times = [(arrival.time, arrival.arrived) for arrival, _ in zip(source, range(9), strict=False)]
    assert len(times) == 9
    assert all(arrived - times[0][1] >= time - 0.001 for time, arrived in times)


def test_a_source_may_change_its_size(tmp_path: Path, write_video: VideoWriter) -> None:
    small = write_video("small.ts", codec="mpeg2video", frames=5, rate=50)
    large = write_video("large.ts", codec="mpeg2video", frames=5, rate=50, size=(96, 128))
    both = tmp_path / "both.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    with LiveSource(str(both)) as source:
        shapes = {arrival.rgb.shape for arrival in source}
    assert shapes == {(48, 64, 3), (96, 128, 3)}
