"""A folder in MeViS's format: JPEGImages/<video>/<frame>.jpg, meta_expressions.json and mask_dict.json."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from glus_edge.benchmarks.datasets.coco_rle import RunLengthError, mask_from_rle
from glus_edge.benchmarks.datasets.dataset import NO_TARGET, Expression
from glus_edge.runtime.errors import InputError
from glus_edge.runtime.video.frame import FrameSize
from glus_edge.runtime.video.frame_folder import FrameFolder
from glus_edge.runtime.video.video import Video

EXPRESSIONS, MASKS, IMAGES = "meta_expressions.json", "mask_dict.json", "JPEGImages"
_LAYOUT = f"expected a folder with {EXPRESSIONS}, {MASKS} and {IMAGES}, as MeViS has it"


class _Expression(NamedTuple):
    sentence: Expression
    annotations: tuple[str, ...]  # keys of mask_dict.json; what is meant is their union


class MevisDataset:
    """See Dataset. InputError: the folder is missing, or a file of it is not what MeViS's is."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.resolve().name
        self._folder = folder
        self._expressions = folder / EXPRESSIONS
        if not folder.is_dir():
            raise InputError(f"dataset {folder}: no such folder; {_LAYOUT}")
        videos = _object(_document(self._expressions).get("videos"), f"{self._expressions}: videos")
        if not videos:
            raise InputError(f"{self._expressions}: got no videos, expected at least one")
        self._videos = sorted(videos.items())
        self._masks = _document(folder / MASKS)

    def __len__(self) -> int:
        return len(self._videos)

    def __getitem__(self, number: int, /) -> "MevisVideo":
        name, entry = self._videos[number]
        where = f"{self._expressions}: videos.{name}"
        if not _is_plain(name):
            raise InputError(f"{where}: got a path, expected the plain name of a folder in {IMAGES}")
        entry = _object(entry, where)
        frames = entry.get("frames")
        if not isinstance(frames, list) or not frames or not all(isinstance(frame, str) for frame in frames):
            raise InputError(f"{where}.frames: got {str(frames)[:60]!r}, expected the names of its frames")
        expressions = tuple(
            self._expression(key, value, f"{where}.expressions.{key}")
            for key, value in _object(entry.get("expressions"), f"{where}.expressions").items()
        )
        if not expressions:
            raise InputError(f"{where}.expressions: got none, expected at least one")
        return MevisVideo(name, self._folder, tuple(frames), expressions, self._masks)

    def _expression(self, key: str, value: Any, where: str) -> _Expression:
        expression = _object(value, where)
        text, annotations, kind = expression.get("exp"), expression.get("anno_id"), expression.get("kind", "")
        if not isinstance(text, str) or not isinstance(kind, str):
            raise InputError(f"{where}.exp: got {str(text)[:60]!r}, expected a sentence")
        if not isinstance(annotations, list) or not all(type(each) in (int, str) for each in annotations):
            raise InputError(f"{where}.anno_id: got {str(annotations)[:60]!r}, expected a list of annotation numbers")
        keys = tuple(str(annotation) for annotation in annotations)
        for annotation in keys:
            if annotation not in self._masks:
                raise InputError(f"{where}.anno_id: got {annotation}, expected an annotation of {MASKS}")
        return _Expression(Expression(key, text, kind if keys else NO_TARGET), keys)


class MevisVideo:
    """See ReferringVideo."""

    def __init__(
        self,
        name: str,
        folder: Path,
        frames: tuple[str, ...],
        expressions: tuple[_Expression, ...],
        masks: dict[str, Any],
    ) -> None:
        self.name = name
        self.sentences: Sequence[Expression] = tuple(expression.sentence for expression in expressions)
        self._folder, self._frames, self._expressions, self._masks = folder, frames, expressions, masks
        self._size: FrameSize | None = None

    def open(self) -> Video:
        """See ReferringVideo. InputError: the folder's frames are not those the sentences are about."""
        video = FrameFolder(self._folder / IMAGES / self.name)
        if tuple(video.stems) != self._frames:
            raise InputError(
                f"{video.path}: got {video.frame_count} frames {video.stems[0]} to {video.stems[-1]}, expected the "
                f"{len(self._frames)} that {EXPRESSIONS} lists, {self._frames[0]} to {self._frames[-1]}, in this order"
            )
        self._size = video.size
        return video

    def truth(self, frame: int) -> NDArray[np.bool_]:
        """See ReferringVideo; frames have been opened."""
        assert self._size is not None, "truth is asked for after open"
        masks = np.zeros((len(self._expressions), *self._size), np.bool_)
        for mask, expression in zip(masks, self._expressions, strict=True):
            for annotation in expression.annotations:
                mask |= self._mask(annotation, frame, self._size)
        return masks

    def _mask(self, annotation: str, frame: int, size: FrameSize) -> NDArray[np.bool_]:
        where = f"{self._folder / MASKS}: {annotation}"
        frames = self._masks[annotation]
        if not isinstance(frames, list) or len(frames) != len(self._frames):
            got = f"{len(frames)} masks" if isinstance(frames, list) else type(frames).__name__
            raise InputError(f"{where}: got {got}, expected {len(self._frames)}, one for each frame of {self.name}")
        if frames[frame] is None:  # the object is not in this frame
            return np.zeros(size, np.bool_)
        try:
            mask = mask_from_rle(frames[frame])
        except RunLengthError as error:
            raise InputError(f"{where}[{frame}]: {error}") from error
        if mask.shape != size:
            raise InputError(f"{where}[{frame}]: got a mask of {mask.shape}, expected {tuple(size)} as {self.name} has")
        return mask


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {_LAYOUT}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: got {error}, expected JSON; {_LAYOUT}") from error
    return _object(document, str(path))


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where}: got {str(value)[:60]!r}, expected a JSON object; {_LAYOUT}")
    return value


def _is_plain(name: str) -> bool:
    """Whether a name from a file can be that of a folder: no path, and nothing that is no text."""
    return name not in ("", ".", "..") and not re.search(r"[/\\\0\ud800-\udfff]", name)
