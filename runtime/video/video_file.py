"""A video file: exact random access, forwards and backwards, with a bounded number of frames in memory."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from glus_edge.runtime.errors import VideoError
from glus_edge.runtime.utils.progress import Progress, silent
from glus_edge.runtime.video.frame import Frame
from glus_edge.runtime.video.frame_cursor import FrameCursor
from glus_edge.runtime.video.frame_index import index_frames
from glus_edge.runtime.video.playlist import is_endless
from glus_edge.runtime.video.video_decoder import VideoDecoder

BACKWARD_BYTES = 256 << 20  # decoded frames held at once when going backwards


class VideoFile:
    """A video file of any size, rotation, frame rate and codec that PyAV decodes."""

    def __init__(
        self,
        path: Path,
        progress: Progress = silent,
        backward_bytes: int = BACKWARD_BYTES,
        *,
        stream: int | None = None,
    ) -> None:
        """Decodes the file once to index it, a damaged one twice. `stream`: see `chosen_stream`.

        Errors: VideoError if it is no video or has no frame; InputError if it has no stream of that number.
        """
        self.path = path
        self._backward_bytes, self._stream = backward_bytes, stream
        if is_endless(path):
            raise VideoError(
                f"{path}: a playlist that may grow, expected one with an end (#EXT-X-ENDLIST); `glus-edge stream` reads it"
            )
        decoder = VideoDecoder(path, stream=stream)
        try:
            self._index = index_frames(decoder, progress)
        finally:
            decoder.close()
        self.frame_count = len(self._index.timestamps)
        self.size = self._index.size
        self.frame_rate = self._index.frame_rate
        self.stems: Sequence[str] = tuple(f"{index:05d}" for index in range(self.frame_count))
        self.truncated = self._index.truncated
        self.gaps = self._index.gaps
        self._cursor = FrameCursor(path, self._index, stream)  # of `read`; an iteration has its own

    def read(self, index: int) -> Frame:
        """One frame; cheap if it is the next one. Errors: IndexError outside the video, VideoError."""
        return self._cursor.read(index)

    def frames(self, start: int = 0, stop: int | None = None, step: int = 1) -> Iterator[Frame]:
        """Frames range(start, stop, step), forwards or backwards; `stop` None: to the end."""
        wanted = range(start, self.frame_count if stop is None else stop, step)
        cursor = FrameCursor(self.path, self._index, self._stream)
        try:
            if step > 0:
                yield from map(cursor.read, wanted)
                return
            while wanted:
                # Decoding only goes forwards: take a run of frames from one key frame on and hand it out in reverse.
                run = self._run(wanted)
                yield from reversed([cursor.read(index) for index in reversed(run)])
                wanted = wanted[len(run) :]
        finally:
            cursor.close()

    def close(self) -> None:
        """Lets go of the file."""
        self._cursor.close()

    def _run(self, descending: range) -> range:
        """How many of these frames can be had at once: none before the first one's key frame, all within the bound."""
        held = max(1, self._backward_bytes // (3 * self.size.height * self.size.width))
        key_frame = self._index.key_frame_before(descending[0])
        within = sum(1 for index in descending[:held] if index >= key_frame)
        return descending[:within]
