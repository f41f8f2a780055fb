"""Writes a run's results: a PNG per mask, overlay.mp4 and result.json."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType

import av
import cv2
import numpy as np

from glus_edge.runtime.errors import OutputError
from glus_edge.runtime.loop.result import FrameResult
from glus_edge.runtime.output.formats.masked_video import MaskedFrame, MaskedVideo
from glus_edge.runtime.output.formats.registry import FORMATS
from glus_edge.runtime.output.mask_png import png_from_mask
from glus_edge.runtime.output.output_folder import (
    FORMAT_FOLDER,
    MASK_FOLDER,
    OVERLAY_FILE,
    RESULT_FILE,
    check_output_folder,
    lock_folder,
    remove_masks_and_overlay,
    remove_outputs,
)
from glus_edge.runtime.output.overlay import Masks, write_overlay
from glus_edge.runtime.output.run_record import (
    COMPLETE,
    DAMAGED,
    INTERRUPTED,
    RUNNING,
    TRUNCATED,
    RunDescription,
    RunRecord,
)
from glus_edge.runtime.utils.atomic_file import write_file, written_aside
from glus_edge.runtime.utils.progress import Progress, silent
from glus_edge.runtime.video.frame import Frame, FrameSize
from glus_edge.runtime.video.video import Video, damage


class OutputWriter:
    """A run's output folder. Use it as a context manager: whatever ends the block, what is there is readable.

    `masks/<sentence number>/<frame stem>.png` (0 or 255, the frame's own size) appear as frames come; result.json says
    `running` until the end. Leaving the block finishes the run: `complete`, `truncated` or `damaged` if the video is, or
    `interrupted` after Ctrl-C or an error. If not one frame was finished, nothing is left behind.
    """

    def __init__(
        self,
        directory: Path,
        video: Video,
        run: RunDescription,
        progress: Progress,
        created: bool,
        lock: int,
        formats: Sequence[str],
    ) -> None:
        self.directory = directory
        self._video = video
        self._sentences = run.sentences
        self._record = RunRecord(run, video)
        self._progress = progress
        self._created = created
        self._lock = lock  # a file descriptor; no other run writes to the folder while it is open
        self._formats = formats
        self._sizes: dict[int, FrameSize] = {}  # of the frames that were written
        self._closed = False

    @classmethod
    def open(
        cls,
        directory: str | Path,
        video: Video,
        run: RunDescription,
        *,
        overwrite: bool = False,
        progress: Progress = silent,
        formats: Sequence[str] = (),
    ) -> "OutputWriter":
        """Makes the folder. `overwrite`: an earlier run's files in it are removed, and nothing else.

        `formats`: names of FORMATS, each written to `formats/<name>/` when the run is closed.

        Errors: OutputError if the folder exists (or holds more than results, when overwriting) or cannot be written.
        """
        directory = Path(directory)
        check_output_folder(directory, overwrite)
        created = not directory.exists()
        try:
            directory.mkdir(parents=True, exist_ok=not created)
            lock = lock_folder(directory)
        except OSError as error:
            raise _cannot_be_made(directory, error) from error
        writer = cls(directory, video, run, progress, created, lock, formats)
        try:
            # First of all: from here on the folder is known as ours, and as unfinished.
            writer._write_record(RUNNING)
            remove_masks_and_overlay(directory)
            for sentence in range(len(run.sentences)):
                writer._mask_folder(sentence).mkdir(parents=True, exist_ok=True)
        except (OSError, OutputError) as error:
            writer._discard()
            os.close(lock)
            if isinstance(error, OutputError):
                raise
            raise _cannot_be_made(directory, error) from error
        return writer

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Writes a frame's masks. Errors: OutputError."""
        assert result.masks.shape == (len(self._sentences), *frame.size), (result.masks.shape, frame.size)
        for sentence, mask in enumerate(result.masks):
            write_file(self._mask_path(sentence, result.index), png_from_mask(mask))
        self._sizes[result.index] = frame.size
        self._record.record(frame.time, result)

    def close(self, status: str | None = None, reason: str | None = None) -> None:
        """Writes result.json, the overlay and the formats of the frames that were finished. Errors: OutputError.

        Without a status: `truncated` or `complete` if every frame of the video was added, else `interrupted`.
        """
        self._closed = True
        if status is None:
            status, reason = self._status()
        # The record first: should the overlay fail or be interrupted, the masks are accounted for.
        self._write_record(status, reason)
        if self._record.indices:
            self._write_overlay()
            self._write_record(status, reason, OVERLAY_FILE)
            self._write_formats()

    def __enter__(self) -> "OutputWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if self._closed:
                return
            if kind is not None and not self._record.indices:
                self._discard()
            elif kind is None:
                self.close()
            elif issubclass(kind, KeyboardInterrupt):
                self.close(INTERRUPTED, "interrupted from the keyboard")
            else:
                with suppress(OutputError):
                    self._write_record(INTERRUPTED, str(error))
        finally:
            os.close(self._lock)

    def _discard(self) -> None:
        with suppress(OutputError, OSError):  # the error that brought us here is the one to report
            remove_outputs(self.directory, with_folder=self._created)

    def _status(self) -> tuple[str, str | None]:
        written = len(self._record.indices)
        if written < self._video.frame_count:
            return INTERRUPTED, f"{written} of {self._video.frame_count} frames were segmented"
        reason = damage(self._video)
        if reason is None:
            return COMPLETE, None
        return (DAMAGED if self._video.truncated is None else TRUNCATED), reason

    def _mask_folder(self, sentence: int) -> Path:
        return self.directory / MASK_FOLDER / str(sentence)

    def _mask_path(self, sentence: int, index: int) -> Path:
        return self._mask_folder(sentence) / f"{self._video.stems[index]}.png"

    def _write_record(self, status: str, reason: str | None = None, overlay: str | None = None) -> None:
        write_file(self.directory / RESULT_FILE, self._record.json(status, reason, overlay))

    def _write_overlay(self) -> None:
        written = self._record.indices
        frames = self._progress(self._written_frames(), len(written), "writing the overlay")
        path = self.directory / OVERLAY_FILE
        try:
            with written_aside(path) as part:
                write_overlay(part, frames, self._masks, self._sentences, self._video.frame_rate)
        except av.error.FFmpegError as error:
            raise OutputError(
                f"{path}: cannot be encoded ({error.strerror}), expected frames H.264 can hold; the masks are whole"
            ) from error

    def _written_frames(self) -> Iterator[Frame]:
        written = set(self._record.indices)
        return (frame for frame in self._video.frames(min(written), max(written) + 1) if frame.index in written)

    def _write_formats(self) -> None:
        stems = self._video.stems
        frames = tuple(
            MaskedFrame(index, stems[index], partial(self._written_masks, index, self._sizes[index]))
            for index in self._record.indices
        )
        video = MaskedVideo(self._video.path.stem, self._sentences, frames)
        for name in self._formats:
            folder = self.directory / FORMAT_FOLDER / name
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise _cannot_be_made(folder, error) from error
            FORMATS[name](folder, video)

    def _masks(self, frame: Frame) -> Masks:
        return self._written_masks(frame.index, frame.size)

    def _written_masks(self, index: int, size: FrameSize) -> Masks:
        """A frame's masks, from the files: they may have been computed in any order, and are not kept in memory."""
        masks = np.zeros((len(self._sentences), *size), np.bool_)
        for sentence, mask in enumerate(masks):
            path = self._mask_path(sentence, index)
            try:
                content = np.frombuffer(path.read_bytes(), np.uint8)  # OpenCV opens no path that is not text
            except OSError as error:
                raise OutputError(
                    f"{path}: cannot be read ({error.strerror}), expected the mask written there"
                ) from error
            image = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE) if content.size else None
            if image is None or image.shape != mask.shape:
                raise OutputError(f"{path}: is gone or changed, expected the mask written there a moment ago")
            np.greater(image, 0, out=mask)
        return masks


def _cannot_be_made(directory: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{directory}: cannot be made ({error.strerror}), expected a place where a folder can be written"
    )
