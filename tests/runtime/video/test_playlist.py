import os
from pathlib import Path

import pytest

from glus_edge.runtime.errors import VideoError
from glus_edge.runtime.video.video import open_video
from tests.runtime.video.test_video_file import VideoWriter

SEGMENTS = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.5,\n{}\n"
MASTER = (
    '#EXTM3U\n#EXT-X-MEDIA:TYPE=VIDEO,GROUP-ID="a",NAME="b",URI="{0}"\n#EXT-X-STREAM-INF:BANDWIDTH=1,VIDEO="a"\n{1}\n'
)


def test_a_playlist_with_an_end_is_a_video(tmp_path: Path, write_video: VideoWriter) -> None:
    write_video("clip.ts", frames=12)
    (tmp_path / "film.m3u8").write_text(SEGMENTS.format("clip.ts") + "#EXT-X-ENDLIST\n")
    (tmp_path / "master.m3u8").write_text("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nfilm.m3u8\n")
    for name in ("film.m3u8", "master.m3u8"):
        assert open_video(tmp_path / name).frame_count == 12


@pytest.mark.parametrize("name", ["grows.m3u8", "master.m3u8"])
def test_a_playlist_that_may_grow_is_not_waited_for(tmp_path: Path, write_video: VideoWriter, name: str) -> None:
    write_video("clip.ts", frames=12)
    (tmp_path / "grows.m3u8").write_text(SEGMENTS.format("clip.ts"))
    (tmp_path / "master.m3u8").write_text("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\ngrows.m3u8\n")
    with pytest.raises(VideoError, match="a playlist that may grow, .*; `glus-edge stream` reads it"):
        open_video(tmp_path / name)


@pytest.mark.parametrize("named", [("film.m3u8", "self.m3u8"), ("self.m3u8", "film.m3u8")])
def test_a_playlist_that_names_itself_is_not_followed(tmp_path: Path, named: tuple[str, str]) -> None:
    (tmp_path / "self.m3u8").write_text(MASTER.format(*named))
    with pytest.raises(VideoError, match="a playlist of playlists of playlists"):
        open_video(tmp_path / "self.m3u8")


def test_a_playlist_of_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.ts")
    (tmp_path / "film.m3u8").write_text(SEGMENTS.format("pipe.ts") + "#EXT-X-ENDLIST\n")
    with pytest.raises(VideoError, match=r"names pipe\.ts, which is no regular file"):
        open_video(tmp_path / "film.m3u8")
