import http.server
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from glus_edge.runtime.errors import VideoError
from glus_edge.runtime.live_source import LiveSource
from tests.runtime.plain_decoding import sequential

VideoWriter = Callable[..., Path]


class Server(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


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
        assert (source.seen, source.taken) == (12, 2)


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
