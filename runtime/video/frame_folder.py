"""A folder of JPEG or PNG frames as a video."""

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glus_edge.runtime.errors import VideoError
from glus_edge.runtime.video.frame import Frame
from glus_edge.runtime.video.image import JPEG, PNG, image_from_bytes

SUFFIXES = (".jpg", ".jpeg", ".png")
DEFAULT_FRAME_RATE = Fraction(10)  # frames per second; a folder does not say


class FrameFolder:
    """The frames of a folder in natural order (2.png before 10.png). Subfolders and other files are left alone."""

    def __init__(self, path: Path, frame_rate: Fraction = DEFAULT_FRAME_RATE) -> None:
        """Errors: VideoError if the folder has no frame, a file that is no image, or two frames of one name."""
        self.path = path
        self.frame_rate = frame_rate
        self.truncated: str | None = None
        self._files = _frame_files(path)
        self.stems: Sequence[str] = tuple(file.stem for file in self._files)
        self.frame_count = len(self._files)
        self.size = self.read(0).size

    def read(self, index: int) -> Frame:
        """One frame, as cv2.imread reads it (8 bits, upright by its EXIF orientation, no alpha), in RGB order."""
        if not 0 <= index < self.frame_count:
            raise IndexError(f"frame {index} of {self.frame_count}")
        return Frame(index, float(index / self.frame_rate), read_image(self._files[index]))

    def frames(self, start: int = 0, stop: int | None = None, step: int = 1) -> Iterator[Frame]:
        """Frames range(start, stop, step), forwards or backwards; `stop` None: to the end."""
        for index in range(start, self.frame_count if stop is None else stop, step):
            yield self.read(index)

    def close(self) -> None:
        """Nothing is held open."""


def natural_key(name: str) -> tuple[tuple[str, int, str], ...]:
    """Sorts names as people do: digits by value, letters regardless of case; equal names keep a fixed order."""
    parts = re.split(r"([0-9]+)", name)
    folded = [(part.casefold(), 0, part) for part in parts]
    folded[1::2] = [("", int(part), part) for part in parts[1::2]]
    return tuple(folded)


def read_image(path: Path) -> NDArray[np.uint8]:
    """An image file as uint8 [H, W, 3], RGB. VideoError if it is missing, damaged or cut off."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise VideoError(f"{path}: cannot be read ({error.strerror}), expected a JPEG or PNG image") from error
    image = image_from_bytes(data)
    if image is None:
        raise VideoError(f"{path}: a damaged or cut-off image, expected a whole JPEG or PNG; replace or remove it")
    return image


def _frame_files(folder: Path) -> list[Path]:
    try:
        present = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise VideoError(f"{folder}: cannot be listed ({error.strerror}), expected a folder of frames") from error
    if not present:
        raise VideoError(f"{folder}: an empty folder, expected JPEG or PNG frames")
    files = [path for path in present if path.suffix.lower() in SUFFIXES and path.is_file()]
    if not files:
        raise VideoError(f"{folder}: {len(present)} entries and none is a frame, expected files {', '.join(SUFFIXES)}")
    files.sort(key=lambda path: natural_key(path.name))
    owner: dict[str, Path] = {}
    for path in files:
        if not _first_bytes(path).startswith((JPEG, PNG)):
            raise VideoError(f"{path}: not a JPEG or PNG image whatever its name says; replace or remove it")
        if path.stem in owner:
            raise VideoError(
                f"{folder}: {owner[path.stem].name} and {path.name} would share one mask file; rename one of them"
            )
        owner[path.stem] = path
    return files


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(8)
    except OSError as error:
        raise VideoError(f"{path}: cannot be read ({error.strerror}), expected a JPEG or PNG image") from error
