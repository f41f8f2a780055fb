"""A video: a file of any kind PyAV decodes, or a folder of frames."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from glus_edge.runtime.errors import InputError
from glus_edge.runtime.utils.progress import Progress, silent
from glus_edge.runtime.video.frame import Frame, FrameSize
from glus_edge.runtime.video.frame_folder import FrameFolder
from glus_edge.runtime.video.gap import Gap
from glus_edge.runtime.video.video_address import is_folder

_TOLD = 4  # gaps in one line


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

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """Where pictures could not be decoded; the frames behind a gap are numbered as if it were not there."""
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


def open_video(path: str | Path, progress: Progress = silent, *, stream: int | None = None) -> Video:
    """Opens a video file or a folder of JPEG, PNG or WebP frames.

    `stream`: the number of a file's picture stream, as ffprobe counts (default: the default one, else the largest).

    A file is decoded once from end to end, without keeping a frame: only so are its length, the time of every frame
    and any damage known. Errors: VideoError for what is missing, no video, or without a single frame; InputError for a
    stream that is not there.
    """
    path = Path(path)
    missing = "no such file or folder, expected a video file or a folder of JPEG, PNG or WebP frames"
    if is_folder(path, missing):
        if stream is not None:
            raise InputError(
                f"--stream: got {stream} for a folder of frames, expected a video file to choose a stream of"
            )
        return FrameFolder(path)
    from glus_edge.runtime.video.video_file import VideoFile  # here: PyAV is needed for files alone

    return VideoFile(path, progress, stream=stream)


def damage(video: Video) -> str | None:
    """What is missing of a video, in one line; None: nothing."""
    gaps = [f"gap {number} of {len(video.gaps)}: {gap}" for number, gap in enumerate(video.gaps[:_TOLD], 1)]
    if len(video.gaps) > _TOLD:
        gaps.append(f"{len(video.gaps) - _TOLD} more in result.json")
    return "; ".join([*([] if video.truncated is None else [video.truncated]), *gaps]) or None
