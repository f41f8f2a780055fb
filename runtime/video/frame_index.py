"""Which frames a video file really has and when each is shown, found by decoding it once."""

import zlib
from bisect import bisect_right
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

import numpy as np
from av.video.frame import VideoFrame

from glus_edge.runtime.errors import VideoError
from glus_edge.runtime.utils.progress import Progress, silent
from glus_edge.runtime.video.color_conversion import displayed_rgb
from glus_edge.runtime.video.frame import FrameSize
from glus_edge.runtime.video.gap import Gap
from glus_edge.runtime.video.gap_search import find_gaps, missing_beside
from glus_edge.runtime.video.video_decoder import VideoDecoder

DEFAULT_FRAME_RATE = Fraction(25)  # frames per second where a file says nothing: a raw stream


@dataclass(frozen=True)
class FrameIndex:
    """The frames of a file that can be decoded, in the order they are shown."""

    timestamps: tuple[int, ...]  # in time_base; strictly increasing
    time_base: Fraction  # seconds
    key_frames: tuple[int, ...]  # frames where decoding can begin
    fingerprints: tuple[int, ...]  # of each picture, to tell whether it came out the same after a seek
    seekable: bool  # False: the file gives its frames no usable times, and they are told apart by counting
    size: FrameSize  # of the first frame
    frame_rate: Fraction  # frames per second, on average
    truncated: str | None  # why decoding ended before the video does
    gaps: tuple[Gap, ...]  # where pictures could not be decoded
    frame_threads: bool  # False: decoded side by side, the same frames need not come out

    def time(self, index: int) -> float:
        """Seconds from the first frame to this one."""
        return float((self.timestamps[index] - self.timestamps[0]) * self.time_base)

    def key_frame_before(self, index: int) -> int:
        """The last frame at or before this one where decoding can begin."""
        place = bisect_right(self.key_frames, index)
        return self.key_frames[place - 1] if place else 0


def fingerprint(frame: VideoFrame) -> int:
    """CRC-32 of every fourth line of the first plane (luma, or the packed picture): cheap beside decoding."""
    plane = frame.planes[0]
    # Lines end in padding of no fixed content; a pixel takes at least a byte, so `width` bytes are all picture.
    lines = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[::4, : plane.width]
    return zlib.crc32(lines.tobytes())


def index_frames(decoder: VideoDecoder, progress: Progress = silent) -> FrameIndex:
    """Decodes a file from end to end and notes its frames. Errors: VideoError if not a single one can be decoded."""
    seen = _seen(decoder, progress, "reading the video")
    # Threads that decode frames side by side say late, or not at all, which one they could not decode.
    exact = not decoder.lost and len(decoder.sent) == decoder.decoded and not any(seen.corrupt)
    if not exact:
        decoder.rewind(frame_threads=False)
        seen = _seen(decoder, progress, "reading the damaged video")
    whole = _without_broken_end(seen.corrupt)
    if seen.size is None or not whole:
        raise VideoError(f"{decoder.name}: not one frame could be decoded, expected a video with at least one")
    if whole < len(seen.corrupt):
        decoder.damage = decoder.damage or "the end of the file in the middle of a frame"
    times = seen.times[:whole]
    stated_rate = decoder.stream.average_rate or decoder.stream.guessed_rate or DEFAULT_FRAME_RATE
    timestamps = tuple(time for time in times if time is not None)
    time_base = decoder.stream.time_base
    seekable = time_base is not None and len(timestamps) == whole and _increasing(timestamps)
    if time_base is None or not seekable:
        timestamps, time_base = tuple(range(whole)), 1 / Fraction(stated_rate)
    torn = missing_beside(decoder.torn, timestamps, 1 / (Fraction(stated_rate) * time_base)) if seekable else []
    gaps = find_gaps(
        [*decoder.lost, *torn],
        corrupt=seen.corrupt[:whole],
        key_frames=seen.key_frames,
        timestamps=timestamps,
        time_base=time_base,
        silent=_never_shown(decoder.sent, timestamps) if seekable else (),
        timed=seekable,
    )
    pictures = whole + sum(gap.lost_pictures for gap in gaps if gap.after_s is not None and gap.before_s is not None)
    return FrameIndex(
        timestamps=timestamps,
        time_base=time_base,
        key_frames=tuple(key for key in seen.key_frames if key < whole),
        fingerprints=tuple(seen.fingerprints[:whole]),
        seekable=seekable,
        size=seen.size,
        frame_rate=_frame_rate(Fraction(stated_rate), pictures, (timestamps[-1] - timestamps[0]) * time_base),
        truncated=decoder.truncation(whole),
        gaps=gaps,
        frame_threads=exact or not (decoder.lost or any(seen.corrupt)),
    )


@dataclass
class _Seen:
    """What one pass over a file notes of its frames."""

    times: list[int | None] = field(default_factory=list)
    key_frames: list[int] = field(default_factory=list)
    fingerprints: list[int] = field(default_factory=list)
    corrupt: list[bool] = field(default_factory=list)
    size: FrameSize | None = None


def _seen(decoder: VideoDecoder, progress: Progress, label: str) -> _Seen:
    seen = _Seen()
    for index, frame in enumerate(progress(decoder.frames(), decoder.stream.frames or None, label)):
        if seen.size is None:
            seen.size = FrameSize(*displayed_rgb(frame).shape[:2])
        seen.times.append(frame.pts)
        seen.fingerprints.append(fingerprint(frame))
        seen.corrupt.append(frame.is_corrupt)
        if frame.key_frame:
            seen.key_frames.append(index)
    return seen


def _never_shown(sent: list[int | None], timestamps: tuple[int, ...]) -> tuple[int, ...]:
    """Times of packets of which no frame came."""
    shown = set(timestamps)
    return tuple(time for time in sent if time is not None and time not in shown)


def _without_broken_end(corrupt: list[bool]) -> int:
    """Frames left when the broken ones at the end are dropped: there the file was cut off in the middle of a frame."""
    whole = len(corrupt)
    while whole and corrupt[whole - 1]:
        whole -= 1
    # All of them flagged: a decoder that joined a stream without key frames, not a cut.
    return whole or len(corrupt)


def _increasing(timestamps: tuple[int, ...]) -> bool:
    return all(earlier < later for earlier, later in pairwise(timestamps))


def _frame_rate(stated: Fraction, frames: int, duration: Fraction) -> Fraction:
    """The stated rate if the frames bear it out, otherwise (it varies, or was never true) their own average."""
    if frames < 2:
        return stated
    measured = Fraction(frames - 1) / duration
    return stated if abs(measured / stated - 1) < Fraction(1, 50) else measured.limit_denominator(10_000)
