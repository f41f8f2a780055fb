"""Decodes the video of a file, camera or stream, packet by packet, and notes what cannot be decoded."""

import errno
import os
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from glus_edge.runtime.errors import VideoError
from glus_edge.runtime.video.container import broken_places, cut_off, what_it_is
from glus_edge.runtime.video.gap import LostPacket
from glus_edge.runtime.video.picture_size import LARGEST_PICTURE, size_refusal
from glus_edge.runtime.video.stream_choice import chosen_stream
from glus_edge.runtime.video.video_address import OPENING_S, VideoAddress, file_address

_BLIND_S = 30.0  # of packets of which none can be decoded, before a stream counts as lost
_TEXT_FORMATS = ("tty",)  # FFmpeg plays text files as a film of a terminal
_ATTEMPTS = 8  # to read on behind a part of a file that cannot be read


class VideoDecoder:
    """Frames of one of a source's video streams in the order they are shown, from the start or from a time."""

    def __init__(
        self, source: Path | VideoAddress, *, stream: int | None = None, frame_threads: bool | None = None
    ) -> None:
        """`stream`: see `chosen_stream`. `frame_threads`: decode frames side by side (None: unless the source is live),
        which is fast, holds back as many frames as there are threads, and loses track of what cannot be decoded.

        Errors: VideoError if the source cannot be opened, is no video, has no video stream or too large pictures;
        InputError if there is no stream of that number.
        """
        self._address = file_address(source) if isinstance(source, Path) else source
        self._number = stream
        self._frame_threads = not self._address.live if frame_threads is None else frame_threads
        self.name = self._address.name
        self._open()

    def _open(self) -> None:
        address = self._address
        kind = None if address.path is None else what_it_is(address.path)
        if kind is not None:
            raise VideoError(f"{self.name}: {kind}")
        try:
            with _readable_pipe(address.url) if address.pipe else nullcontext(address.url) as url:
                self._container = av.open(
                    url, format=address.container, options=dict(address.options), timeout=address.patience_s
                )
        except (av.error.FFmpegError, OSError) as error:
            expected = (
                "a camera or stream that is there and sends video"
                if address.live
                else "a whole video file or a folder of frames; a file cut off while it was recorded may lack its index"
            )
            raise VideoError(
                f"{self.name}: not a video that can be read ({self._reason(error)}), expected {expected}"
            ) from error
        except ValueError as error:  # PyAV's, of the container's name
            raise VideoError(f"{self.name}: got {error} in this PyAV, expected one that reads cameras") from error
        try:
            self.stream = self._picture_stream()
        except BaseException:
            self._container.close()
            raise
        self.stream.thread_type = "AUTO" if self._frame_threads else "SLICE"
        self.stream.codec_context.options = {"max_pixels": str(LARGEST_PICTURE)}
        self._broken = [] if address.path is None else list(broken_places(address.path))
        self.damage: str | None = None  # why reading ended before the source does; known once it has ended
        self.lost: list[LostPacket] = []  # since the source was opened, or since whoever reads them took them
        self.sent: list[int | None] = []  # times of the packets that were to give a frame; kept for files alone
        self.torn: list[int] = []  # times of packets beside which something of a file is missing, as its demuxer says
        self.decoded = 0  # frames that came

    def _picture_stream(self) -> VideoStream:
        container = self._container
        stream = chosen_stream(container, self.name, self._number)
        if stream is None or container.format.name in _TEXT_FORMATS:
            kind = container.format.long_name or container.format.name
            raise VideoError(f"{self.name}: no video stream in this file ({kind}), expected a video file")
        if stream.codec_context is None:
            raise VideoError(
                f"{self.name}: pictures ({container.format.name}) for which this FFmpeg has no decoder, expected a "
                "codec such as H.264; convert it first"
            )
        refusal = size_refusal(stream.width, stream.height)
        if refusal is not None:
            raise VideoError(f"{self.name}: {refusal}")
        return stream

    def frames(self) -> Iterator[VideoFrame]:
        """The frames from where the source stands to its end, without those that cannot be decoded: see `lost`."""
        last = time.monotonic()  # when there was a picture
        started = False  # a stream joined in the middle begins with packets nothing can be made of
        for packet in self._packets():
            started = started or packet.is_keyframe or self.decoded > 0
            if self._address.path is not None:
                self._leave_behind(packet.pos, packet.pts)
                if packet.is_corrupt and packet.pts is not None:
                    self.torn.append(packet.pts)
                if not packet.is_discard:
                    self.sent.append(packet.pts)
            try:
                decoded = (_own(packet) if self._address.lends else packet).decode()
            except (av.error.FFmpegError, OSError) as error:
                if self._address.live and time.monotonic() - last > _BLIND_S:
                    self.damage = f"a part that cannot be decoded ({error.strerror})"
                    break
                if started:
                    self._lose(packet.pts, f"cannot be decoded ({error.strerror})")
                continue
            except ValueError as error:  # PyAV's, of a codec that FFmpeg has no decoder for
                raise VideoError(f"{self.name}: got {error}, expected one such as H.264; convert it first") from error
            for frame in decoded:
                self.decoded += 1
                yield frame
                last = time.monotonic()
        try:
            for frame in self.stream.codec_context.decode(None):
                self.decoded += 1
                yield frame
        except (av.error.FFmpegError, OSError) as error:
            self._lose(None, f"cannot be decoded ({error.strerror})")
        self._leave_behind(None, None)

    def seek(self, timestamp: int) -> None:
        """Goes to a key frame at or before a time (in the stream's time base); where exactly, is the file's choice.

        Errors: VideoError if the file cannot be searched.
        """
        try:
            self._container.seek(timestamp, stream=self.stream, backward=True)
        except (av.error.FFmpegError, OSError) as error:
            raise VideoError(
                f"{self.name}: got {error.strerror} when searching it, expected a seekable file"
            ) from error

    def rewind(self, *, frame_threads: bool | None = None) -> None:
        """Goes back to the first frame, by opening the file anew."""
        self.close()
        self._frame_threads = self._frame_threads if frame_threads is None else frame_threads
        self._open()

    def close(self) -> None:
        """Lets go of the file."""
        self._container.close()

    def _leave_behind(self, position: int | None, timestamp: int | None) -> None:
        """Notes the broken places of the file before a packet, None: before the end. Decoding was begun at the start."""
        while self._broken and (position is None or self._broken[0] < position):
            reason = f"cannot be read (the file's structure is broken at byte {self._broken.pop(0)})"
            self.lost.append(LostPacket(timestamp, self.decoded, reason, behind=timestamp is not None))

    def _lose(self, timestamp: int | None, reason: str) -> None:
        self.lost.append(LostPacket(timestamp, self.decoded, reason))

    def _packets(self) -> "Iterator[Packet[VideoStream]]":
        """The video packets. A broken one is passed on only if another follows: otherwise the file was cut off there."""
        broken: Packet[VideoStream] | None = None
        unread: str | None = None
        attempts = _ATTEMPTS
        while attempts:
            try:
                for packet in self._container.demux(self.stream):
                    # An empty packet is how the end is announced; a decoder must not see it before it is drained.
                    if packet.stream_index != self.stream.index or not packet.size:
                        continue
                    if unread is not None:
                        self.lost.append(LostPacket(packet.pts, self.decoded, unread, behind=packet.pts is not None))
                        unread, attempts = None, _ATTEMPTS
                    if broken is not None:
                        yield broken
                    broken = packet if packet.is_corrupt else None
                    if broken is None:
                        yield packet
                break
            except av.error.InvalidDataError as error:
                unread = f"cannot be read ({self._reason(error)})"
                attempts -= 1
            except (av.error.FFmpegError, OSError) as error:
                unread, attempts = f"cannot be read ({self._reason(error)})", 0
        if unread is not None:
            self.damage = f"a part that {unread}"
        elif broken is not None:
            self.damage = "the end of the file in the middle of a frame"
        elif self._address.path is not None:
            self.damage = cut_off(self._address.path)

    def _reason(self, error: av.error.FFmpegError | OSError) -> str:
        """FFmpeg calls it an exit that was asked for when patience has come to its end."""
        return "no data came in time" if isinstance(error, av.error.ExitError) else str(error.strerror)

    @property
    def container_name(self) -> str:
        """FFmpeg's name of the container's format."""
        return self._container.format.name

    def stated_length(self) -> Fraction | None:
        """Seconds the source says it lasts, None if it does not say."""
        if self.stream.duration is not None and self.stream.time_base is not None:
            return self.stream.duration * self.stream.time_base
        return None if self._container.duration is None else Fraction(self._container.duration, av.time_base)

    def truncation(self, frames: int) -> str | None:
        """Why the source ended before it should have, after that many frames; None: it is whole, gaps aside."""
        return None if self.damage is None else f"{self.name}: after {frames} frames came {self.damage}"


@contextmanager
def _readable_pipe(path: str) -> Iterator[str]:
    """What FFmpeg calls a pipe that has data. TimeoutError: nobody wrote into it; opening it would wait without an end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        if not waiting.poll(1000 * OPENING_S):
            raise TimeoutError(errno.ETIMEDOUT, f"nothing was written into it for {OPENING_S:g} s")
        os.set_blocking(descriptor, True)
        yield f"pipe:{descriptor}"  # not its name: whoever wrote may have left, and opening it would wait again
    finally:
        os.close(descriptor)


def _own(packet: "Packet[VideoStream]") -> "Packet[VideoStream]":
    """A copy. Frames of raw video are views of their packets, and live on when the device is gone."""
    own = cast("Packet[VideoStream]", Packet(bytes(packet)))
    own.stream, own.time_base, own.pts, own.dts = packet.stream, packet.time_base, packet.pts, packet.dts
    own.is_keyframe = packet.is_keyframe
    return own
