"""A folder of JPEG, PNG or WebP frames as a video."""

import os
import re
import stat
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glus_edge.runtime.errors import VideoError
from glus_edge.runtime.video.frame import Frame
from glus_edge.runtime.video.gap import Gap
from glus_edge.runtime.video.image import PictureError, image_from_bytes
from glus_edge.runtime.video.image_header import is_image

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp")
# Pictures that are not read: left out, they would be frames that are missing without a word.
OTHER_PICTURES = (
    *(".avif", ".bmp", ".dng", ".exr", ".gif", ".hdr", ".heic", ".heif", ".jp2", ".jxl", ".mpo", ".pbm", ".pgm"),
    *(".apng", ".pnm", ".ppm", ".tga", ".tif", ".tiff"),
)
DEFAULT_FRAME_RATE = Fraction(10)  # frames per second; a folder does not say
LARGEST_FILE = 1 << 30  # bytes of a frame's file
_EXPECTED = "expected a JPEG, PNG or WebP image"


class FrameFolder:
    """The frames of a folder in natural order (2.png before 10.png). Subfolders and other files are left alone."""

    def __init__(self, path: Path, frame_rate: Fraction = DEFAULT_FRAME_RATE) -> None:
        """Errors: VideoError if the folder has no frame, a picture that is not read, or two frames of one name."""
        self.path = path
        self.frame_rate = frame_rate
        self.truncated: str | None = None
        self.gaps: tuple[Gap, ...] = ()
        self._files = _frame_files(path)
        self.stems: Sequence[str] = tuple(file.stem for file in self._files)
        self.frame_count = len(self._files)
        self.size = self.read(0).size

    def read(self, index: int) -> Frame:
        """One frame, as cv2.imread reads it (8 bits, turned by its EXIF orientation, no alpha), in RGB order."""
        if not 0 <= index < self.frame_count:
            raise IndexError(f"frame {index} of {self.frame_count}")
        return Frame(index, float(index / self.frame_rate), read_image(self._files[index]))

    def frames(self, start: int = 0, stop: int | None = None, step: int = 1) -> Iterator[Frame]:
        """Frames range(start, stop, step), forwards or backwards; `stop` None: to the end."""
        for index in range(start, self.frame_count if stop is None else stop, step):
            yield self.read(index)

    def close(self) -> None:
        """Nothing is held open."""


def natural_key(name: str) -> tuple[tuple[tuple[str, int], ...], str]:
    """Sorts names as people do: digits by value, letters regardless of case; then equal names in a fixed order."""
    parts = re.split(r"([0-9]+)", name)
    folded = [(part.casefold(), 0) for part in parts]
    folded[1::2] = [("", int(part)) for part in parts[1::2]]
    return tuple(folded), name


def read_image(path: Path) -> NDArray[np.uint8]:
    """An image file as uint8 [H, W, 3], RGB. VideoError if it is missing, damaged, cut off or too large."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size > LARGEST_FILE:
                raise VideoError(f"{path}: a file of more than {LARGEST_FILE} bytes, {_EXPECTED}")
            return image_from_bytes(file.read())
    except OSError as error:
        raise VideoError(f"{path}: cannot be read ({error.strerror}), {_EXPECTED}") from error
    except PictureError as error:
        raise VideoError(f"{path}: {error}; replace or remove it") from error


def _frame_files(folder: Path) -> list[Path]:
    try:
        present = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise VideoError(f"{folder}: cannot be listed ({error.strerror}), expected a folder of frames") from error
    if not present:
        raise VideoError(f"{folder}: an empty folder, expected JPEG, PNG or WebP frames")
    files = sorted((path for path in present if _is_frame(path)), key=lambda path: natural_key(path.name))
    if not files:
        raise VideoError(f"{folder}: {len(present)} entries and none is a frame, expected files {', '.join(SUFFIXES)}")
    owner: dict[str, Path] = {}
    for path in files:
        if path.stem in owner:
            raise VideoError(
                f"{folder}: {owner[path.stem].name} and {path.name} would share one mask file; rename one of them"
            )
        owner[path.stem] = path
    return files


def _is_frame(path: Path) -> bool:
    """Whether an entry is a frame. VideoError: it is one that cannot be read, rather than left out without a word."""
    suffix = path.suffix.lower()
    unnamed = not suffix[1:] or suffix[1:].isdigit()  # frame.0001: pictures are numbered so, too
    if suffix not in (*SUFFIXES, *OTHER_PICTURES) and not unnamed:
        return False
    try:
        mode = path.stat().st_mode
        if unnamed and not stat.S_ISREG(mode):
            return False
        if stat.S_ISDIR(mode):
            return False
        if not stat.S_ISREG(mode):
            raise VideoError(f"{path}: a pipe, socket or device, {_EXPECTED}; remove it")
        with path.open("rb") as file:
            holds_image = is_image(file.read(16))
    except OSError as error:
        if unnamed:
            return False
        kind = "a link that leads nowhere" if path.is_symlink() else "cannot be read"
        raise VideoError(f"{path}: {kind} ({error.strerror}), {_EXPECTED}; replace or remove it") from error
    if suffix in OTHER_PICTURES:
        raise VideoError(f"{path}: a {suffix[1:]} picture, {_EXPECTED}; convert or remove it")
    if unnamed and holds_image:
        raise VideoError(
            f"{path}: a picture whose name does not say so, expected a suffix {', '.join(SUFFIXES)}; rename it"
        )
    if not unnamed and not holds_image:
        raise VideoError(f"{path}: not a JPEG, PNG or WebP image whatever its name says; replace or remove it")
    return holds_image and not unnamed
