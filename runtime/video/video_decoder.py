"""Decodes the video of a file, camera or stream, packet by packet, and notices where it is damaged."""

import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from glus_edge.runtime.errors import VideoError
from glus_edge.runtime.video.video_address import VideoAddress, file_address

_BLIND_S = 30.0  # of packets of which none can be decoded, before a stream counts as lost
_TEXT_FORMATS = ("tty",)  # FFmpeg plays text files as a film of a terminal


class VideoDecoder:
    """Frames of a source's first video stream in the order they are shown, from the start or from a time."""

    def __init__(self, source: Path | VideoAddress) -> None:
        """Errors: VideoError if the source cannot be opened, is no video, or has no video stream."""
        self._address = file_address(source) if isinstance(source, Path) else source
        self.name = self._address.name
        self._open()

    def _open(self) -> None:
        address = self._address
        try:
            self._container = av.open(
                address.url, format=address.container, options=dict(address.options), timeout=address.patience_s
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
        streams = [stream for stream in self._container.streams.video if not _is_cover(stream)]
        if not streams or self._container.format.name in _TEXT_FORMATS:
            kind = self._container.format.long_name or self._container.format.name
            self._container.close()
            raise VideoError(f"{self.name}: no video stream in this file ({kind}), expected a video file")
        self.stream: VideoStream = streams[0]
        # Decoding frames side by side holds back as many as there are threads.
        self.stream.thread_type = "SLICE" if address.live else "AUTO"
        self.damage: str | None = None  # why decoding ended before the file says it should; known once it has ended
        self.end = Fraction(0)  # seconds up to which packets were read

    def frames(self) -> Iterator[VideoFrame]:
        """The frames from where the file stands to its end or to the first damage, whichever comes first."""
        last = time.monotonic()  # when there was a picture
        started = False  # a stream joined in the middle begins with packets nothing can be made of
        for packet in self._packets():
            try:
                decoded = (_own(packet) if self._address.lends else packet).decode()
            except (av.error.FFmpegError, OSError) as error:
                blind = self._address.live and time.monotonic() - last > _BLIND_S
                if not blind and (not started or self._address.live):  # a torn packet does not end a stream
                    continue
                self.damage = f"a part that cannot be decoded ({error.strerror})"
                break
            started = started or packet.is_keyframe
            for frame in decoded:
                yield frame
                last = time.monotonic()
        try:
            yield from self.stream.codec_context.decode(None)
        except (av.error.FFmpegError, OSError) as error:
            self.damage = self.damage or f"a last part that cannot be decoded ({error.strerror})"

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

    def rewind(self) -> None:
        """Goes back to the first frame, by opening the file anew."""
        self.close()
        self._open()

    def close(self) -> None:
        """Lets go of the file."""
        self._container.close()

    def _packets(self) -> "Iterator[Packet[VideoStream]]":
        """The video packets. A broken one is passed on only if another follows: otherwise the file was cut off there."""
        broken: Packet[VideoStream] | None = None
        try:
            for any_packet in self._container.demux(*self._demuxed()):
                packet = cast("Packet[VideoStream]", any_packet)
                if packet.pts is not None:
                    self.end = max(self.end, (packet.pts + (packet.duration or 0)) * packet.time_base)
                # An empty packet is how the end is announced; a decoder must not see it before it is drained.
                if packet.stream_index != self.stream.index or not packet.size:
                    continue
                if broken is not None:
                    yield broken
                broken = packet if packet.is_corrupt else None
                if broken is None:
                    yield packet
        except (av.error.FFmpegError, OSError) as error:
            self.damage = f"a part that cannot be read ({self._reason(error)})"
        if broken is not None:
            self.damage = "the end of the file in the middle of a frame"

    def _reason(self, error: av.error.FFmpegError | OSError) -> str:
        """FFmpeg calls it an exit that was asked for when patience has come to its end."""
        return "no data came in time" if isinstance(error, av.error.ExitError) else str(error.strerror)

    def _demuxed(self) -> list[Stream]:
        """The streams to read. Where the video's own length is not stated, sound may be what reaches the file's end."""
        sound = [] if self.stream.duration is not None else list(self._container.streams.audio)
        return [self.stream, *sound]

    def stated_length(self) -> Fraction | None:
        """Seconds the file says it lasts, None if it does not say."""
        if self.stream.duration is not None and self.stream.time_base is not None:
            return self.stream.duration * self.stream.time_base
        return None if self._container.duration is None else Fraction(self._container.duration, av.time_base)


def _own(packet: "Packet[VideoStream]") -> "Packet[VideoStream]":
    """A copy. Frames of raw video are views of their packets, and live on when the device is gone."""
    own = cast("Packet[VideoStream]", Packet(bytes(packet)))
    own.stream, own.time_base, own.pts, own.dts = packet.stream, packet.time_base, packet.pts, packet.dts
    own.is_keyframe = packet.is_keyframe
    return own


def _is_cover(stream: VideoStream) -> bool:
    """Whether a stream is the still picture that comes with a song."""
    return bool(stream.disposition & Disposition.attached_pic)
