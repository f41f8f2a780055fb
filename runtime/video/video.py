"""A video: a file of any kind PyAV decodes, or a folder of frames."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from glus_edge.runtime.utils.progress import Progress, silent
from glus_edge.runtime.video.frame import Frame, FrameSize
from glus_edge.runtime.video.frame_folder import FrameFolder
from glus_edge.runtime.video.video_address import is_folder


class Video(Protocol):
    """Random access to the frames of a video; never more than a part of it is in memory."""

    @property
    def path(self) -> Path:
        """The file or folder."""
        ...

    @property
    def frame_count(self) -> int:
        """Frames that can be read; at least 1."""
        ...

    @property
    def size(self) -> FrameSize:
        """Size of the first frame. Frames of a folder may differ."""
        ...

    @property
    def frame_rate(self) -> Fraction:
        """Frames per second, on average where the rate varies."""
        ...

    @property
    def stems(self) -> Sequence[str]:
        """Name of each frame's mask file without suffix: 00000, 00001, ... or the stem of the frame's own file."""
        ...

    @property
    def truncated(self) -> str | None:
        """Why reading ended before the video does, None if it is whole."""
        ...

    def read(self, index: int) -> Frame:
        """One frame. Errors: IndexError outside 0..frame_count - 1, VideoError if it cannot be read."""
        ...

    def frames(self, start: int = 0, stop: int | None = None, step: int = 1) -> Iterator[Frame]:
        """Frames range(start, stop, step), forwards or backwards; `stop` None: to the end."""
        ...

    def close(self) -> None:
        """Lets go of the file."""
        ...


def open_video(path: str | Path, progress: Progress = silent) -> Video:
    """Opens a video file or a folder of JPEG or PNG frames.

    A file is decoded once from end to end, without keeping a frame: only so are its length, the time of every frame
    and any damage known. Errors: VideoError for what is missing, no video, or without a single frame.
    """
    path = Path(path)
    missing = "no such file or folder, expected a video file or a folder of JPEG or PNG frames"
    if is_folder(path, missing):
        return FrameFolder(path)
    from glus_edge.runtime.video.video_file import VideoFile  # here: PyAV is needed for files alone

    return VideoFile(path, progress)
