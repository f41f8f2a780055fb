"""A place in a video file from which frames are read, exactly those that were indexed."""

from pathlib import Path

from av.video.frame import VideoFrame

from glus_edge.runtime.errors import VideoError
from glus_edge.runtime.video.color_conversion import displayed_rgb, pixel_aspect
from glus_edge.runtime.video.frame import Frame
from glus_edge.runtime.video.frame_index import FrameIndex, fingerprint
from glus_edge.runtime.video.video_decoder import VideoDecoder

_DECODE_THROUGH = 16  # frames worth decoding to spare a seek, which empties the decoder's pipeline


class FrameCursor:
    """Reads frames by number. Going on is cheap; jumping costs a seek and decoding from a key frame."""

    def __init__(self, path: Path, index: FrameIndex, stream: int | None = None) -> None:
        """`stream`: as it was indexed."""
        self._index = index
        self._positions = {timestamp: position for position, timestamp in enumerate(index.timestamps)}
        self._decoder = VideoDecoder(path, stream=stream, frame_threads=index.frame_threads)
        self._begin(from_start=True)

    def read(self, index: int) -> Frame:
        """Frame `index`. Errors: IndexError, or VideoError if the file no longer holds what was indexed."""
        if not 0 <= index < len(self._index.timestamps):
            raise IndexError(f"frame {index} of {len(self._index.timestamps)}")
        frame = self._nearest_way(index)
        if frame is None:
            # Not every file decodes the same after a seek as from its start, and from its start is how it was indexed.
            self._decoder.rewind()
            self._begin(from_start=True)
            frame = self._decode_up_to(index)
        if frame is None:
            raise VideoError(f"{self._decoder.name}: frame {index} is gone, expected the file not to change while read")
        return Frame(
            index, self._index.time(index), displayed_rgb(frame), pixel_aspect=pixel_aspect(frame, self._decoder.stream)
        )

    def close(self) -> None:
        """Lets go of the file."""
        self._decoder.close()

    def _nearest_way(self, index: int) -> VideoFrame | None:
        """The frame by going on or by seeking; None if it must be decoded from the start."""
        key_frame = self._index.key_frame_before(index)
        near = key_frame <= self._next + _DECODE_THROUGH or not self._index.seekable
        if self._next <= index and near:
            return self._decode_up_to(index)
        if not self._index.seekable:
            return None
        # Containers without an index of their own land somewhat behind the time asked for: ask for an earlier one.
        for target in (key_frame, self._index.key_frame_before(key_frame - 1)):
            self._decoder.seek(self._index.timestamps[target])
            self._begin(from_start=False)
            frame = self._decode_up_to(index)
            if frame is not None:
                return frame
        return None

    def _begin(self, *, from_start: bool) -> None:
        self._decoded = self._decoder.frames()
        self._from_start = from_start
        self._next = 0  # no frame before this one will come

    def _decode_up_to(self, index: int) -> VideoFrame | None:
        """The frame; None if decoding passes it by or, after a seek, makes another picture of it."""
        for frame in self._decoded:
            position = self._position(frame)
            if position is None:
                continue
            self._next = position + 1
            if position >= index:
                same = self._from_start or fingerprint(frame) == self._index.fingerprints[index]
                return frame if position == index and same else None
        return None

    def _position(self, frame: VideoFrame) -> int | None:
        """Which frame this is; None for one that was not there when the file was indexed."""
        if not self._index.seekable:
            return self._next
        return None if frame.pts is None else self._positions.get(frame.pts)
