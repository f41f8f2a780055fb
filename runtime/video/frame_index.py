"""Which frames a video file really has and when each is shown, found by decoding it once."""

import zlib
from bisect import bisect_right
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
from av.video.frame import VideoFrame

from glus_edge.runtime.errors import VideoError
from glus_edge.runtime.utils.progress import Progress, silent
from glus_edge.runtime.video.color_conversion import displayed_rgb
from glus_edge.runtime.video.frame import FrameSize
from glus_edge.runtime.video.video_decoder import VideoDecoder

DEFAULT_FRAME_RATE = Fraction(25)  # frames per second where a file says nothing: a raw stream
_SLACK_S = Fraction(1, 4)  # stated lengths are rounded, and the last frame's duration is often a guess
_SLACK_FRAMES = 3


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
    times: list[int | None] = []
    key_frames: list[int] = []
    fingerprints: list[int] = []
    corrupt: list[bool] = []
    size: FrameSize | None = None
    for index, frame in enumerate(progress(decoder.frames(), decoder.stream.frames or None, "reading the video")):
        if size is None:
            size = FrameSize(*displayed_rgb(frame).shape[:2])
        times.append(frame.pts)
        fingerprints.append(fingerprint(frame))
        corrupt.append(frame.is_corrupt)
        if frame.key_frame:
            key_frames.append(index)
    whole = _without_broken_end(corrupt)
    if size is None or not whole:
        raise VideoError(f"{decoder.name}: not one frame could be decoded, expected a video with at least one")
    del times[whole:]
    stated_rate = decoder.stream.average_rate or decoder.stream.guessed_rate or DEFAULT_FRAME_RATE
    timestamps = tuple(time for time in times if time is not None)
    time_base = decoder.stream.time_base
    seekable = time_base is not None and len(timestamps) == whole and _increasing(timestamps)
    if time_base is None or not seekable:
        timestamps, time_base = tuple(range(whole)), 1 / Fraction(stated_rate)
    frame_rate = _frame_rate(Fraction(stated_rate), whole, (timestamps[-1] - timestamps[0]) * time_base)
    ending = decoder.damage or ("the end of the file in the middle of a frame" if whole < len(corrupt) else None)
    return FrameIndex(
        timestamps=timestamps,
        time_base=time_base,
        key_frames=tuple(key for key in key_frames if key < whole),
        fingerprints=tuple(fingerprints[:whole]),
        seekable=seekable,
        size=size,
        frame_rate=frame_rate,
        truncated=truncation(decoder, ending, whole, frame_rate),
    )


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


def truncation(decoder: VideoDecoder, ending: str | None, frames: int, frame_rate: Fraction) -> str | None:
    """Why a source that has been read ended before it says it does, if so; `ending`: what the decoder noticed."""
    stated = decoder.stated_length()
    begin = (decoder.stream.start_time or 0) * (decoder.stream.time_base or Fraction(0))
    read = max(decoder.end, decoder.end - begin)
    if ending is None and stated is not None and stated - read > max(_SLACK_S, _SLACK_FRAMES / frame_rate):
        ending = f"the end of its data after {float(read):.2f} s of the {float(stated):.2f} s it states"
    return None if ending is None else f"{decoder.name}: after {frames} frames came {ending}"
