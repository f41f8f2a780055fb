"""Which of a file's streams is the film."""

from av.container.input import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from glus_edge.runtime.errors import InputError

# Pictures that accompany a film or a song: a cover, thumbnails along the time line.
_COMPANIONS = Disposition.attached_pic | Disposition.timed_thumbnails


def chosen_stream(container: InputContainer, name: str, number: int | None) -> VideoStream | None:
    """The picture stream of that number in the file, as ffprobe counts, None for the default one, else the largest.

    None: there is no picture stream. InputError: there is none of that number.
    """
    streams = list(container.streams.video)
    if number is not None:
        for stream in streams:
            if stream.index == number:
                return stream
        held = ", ".join(f"{stream.index} ({stream.width} x {stream.height})" for stream in streams) or "none"
        raise InputError(f"--stream: got {number}, expected the number of a picture stream of {name}: {held}")
    films = [stream for stream in streams if not stream.disposition & _COMPANIONS]
    return max(films, key=_weight, default=None)


def _weight(stream: VideoStream) -> tuple[bool, int, int]:
    """An AVIF sequence holds its still picture as a stream of its own, as large as the film: frames decide then."""
    if stream.codec_context is None:  # a codec that FFmpeg has no decoder for
        return False, 0, 0
    return bool(stream.disposition & Disposition.default), stream.width * stream.height, stream.frames
