"""MeViS, versions 1 and 2: JPEGImages/<video>/<frame>.jpg, meta_expressions.json and mask_dict.json.

The folder is that of one split: `valid_u` has masks, of `valid` and `test` the server keeps them.
Source: MeViS at 7c0620b; version 2: the files of FudanCVL/MeViSv2, where a sentence may mean nothing.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from glus_edge.benchmarks.datasets.annotation_file import AnnotationFile, shown
from glus_edge.benchmarks.datasets.coco_rle import RunLengthError, mask_from_rle
from glus_edge.benchmarks.datasets.dataset import NO_TARGET, Expression
from glus_edge.benchmarks.datasets.folder_video import FolderVideo
from glus_edge.runtime.errors import InputError
from glus_edge.runtime.video.frame import FrameSize

EXPRESSIONS, MASKS, IMAGES = "meta_expressions.json", "mask_dict.json", "JPEGImages"
EXPRESSIONS_V2 = "meta_expressions_v2.json"
_LAYOUT = f"expected a folder with {EXPRESSIONS}, {MASKS} and {IMAGES}, as MeViS has it"


class MeantExpression(NamedTuple):
    """A sentence and what it means."""

    sentence: Expression
    annotations: tuple[str, ...]  # keys of mask_dict.json; what is meant is their union


class MevisDataset:
    """See Dataset. InputError: the folder is missing, or a file of it is not what MeViS's is."""

    def __init__(self, folder: Path, expressions: str = EXPRESSIONS, masks: bool = True) -> None:
        """`masks`: False where the server keeps them; `truth` cannot be asked for then."""
        self.name = folder.resolve().name
        self._folder = folder
        if not folder.is_dir():
            raise InputError(f"dataset {folder}: no such folder; {_LAYOUT}")
        self._file = AnnotationFile(folder / expressions, _LAYOUT)
        self._videos = self._file.videos(IMAGES)
        self._masks = MaskDictionary.read(folder / MASKS, _LAYOUT) if masks else None

    def __len__(self) -> int:
        return len(self._videos)

    def __getitem__(self, number: int, /) -> "MevisVideo":
        name, entry = self._videos[number]
        where = f"videos.{name}"
        entry = self._file.object(entry, where)
        frames = self._file.frames(entry, where)
        expressions = tuple(
            self._expression(key, value, place) for key, value, place in self._file.expressions(entry, where)
        )
        return MevisVideo(name, self._folder / IMAGES, frames, expressions, self._masks, self._file.path)

    def _expression(self, key: str, expression: dict[str, Any], where: str) -> MeantExpression:
        text, kind = self._file.text(expression, "exp", where), expression.get("kind", "")
        if not isinstance(kind, str):
            raise InputError(f"{self._file.place(where)}.kind: got {shown(kind)}, expected a text")
        if self._masks is None:
            return MeantExpression(Expression(key, text, kind), ())
        keys = annotation_keys(self._file, expression, where, self._masks)
        return MeantExpression(Expression(key, text, kind if keys else NO_TARGET), keys)


def mevis_v2(folder: Path, masks: bool = True) -> MevisDataset:
    """MeViS version 2, whose expressions may lie in a file of that version's name."""
    newer = (folder / EXPRESSIONS_V2).exists()
    return MevisDataset(folder, EXPRESSIONS_V2 if newer else EXPRESSIONS, masks)


def annotation_keys(
    file: AnnotationFile, expression: dict[str, Any], where: str, masks: "MaskDictionary"
) -> tuple[str, ...]:
    """The annotations that a sentence means. InputError: no list of annotations that are there."""
    annotations = expression.get("anno_id")
    if not isinstance(annotations, list) or not all(type(each) in (int, str) for each in annotations):
        raise InputError(
            f"{file.place(where)}.anno_id: got {shown(annotations)}, expected a list of annotation numbers"
        )
    keys = tuple(str(annotation) for annotation in annotations)
    for annotation in keys:
        if annotation not in masks.annotations:
            raise InputError(
                f"{file.place(where)}.anno_id: got {annotation}, expected an annotation of {masks.path.name}"
            )
    return keys


class MaskDictionary:
    """mask_dict.json: for every annotation, a run-length code or null for each frame."""

    def __init__(self, path: Path, annotations: dict[str, Any]) -> None:
        self.path, self.annotations = path, annotations

    @classmethod
    def read(cls, path: Path, layout: str) -> "MaskDictionary":
        """InputError: the file cannot be read, or holds no JSON object."""
        return cls(path, AnnotationFile(path, layout).document)

    def mask(self, annotation: str, frame: int, frames: int, size: FrameSize) -> NDArray[np.bool_]:
        """bool [H, W]: an annotation on one of a video's frames; empty where the object is not there. InputError."""
        where = f"{self.path}: {annotation}"
        codes = self.annotations[annotation]
        if not isinstance(codes, list) or len(codes) != frames:
            got = f"{len(codes)} masks" if isinstance(codes, list) else type(codes).__name__
            raise InputError(f"{where}: got {got}, expected {frames}, one for each frame of its video")
        if codes[frame] is None:
            return np.zeros(size, np.bool_)
        return decoded(codes[frame], f"{where}[{frame}]", size)


def decoded(code: Any, where: str, size: FrameSize) -> NDArray[np.bool_]:
    """The mask of a run-length code. InputError: it is none, or has another size."""
    try:
        mask = mask_from_rle(code)
    except RunLengthError as error:
        raise InputError(f"{where}: {error}") from error
    if mask.shape != size:
        raise InputError(f"{where}: got a mask of {mask.shape}, expected {tuple(size)} as the frames have")
    return mask


class MevisVideo(FolderVideo):
    """See ReferringVideo."""

    def __init__(
        self,
        name: str,
        images: Path,
        frames: tuple[str, ...],
        expressions: tuple[MeantExpression, ...],
        masks: MaskDictionary | None,
        listed_in: Path,
    ) -> None:
        super().__init__(name, images, frames, tuple(each.sentence for each in expressions), listed_in)
        self._expressions, self._masks = expressions, masks

    def truth(self, frame: int) -> NDArray[np.bool_]:
        """See ReferringVideo; frames have been opened."""
        assert self._masks is not None, "the server keeps the truth"
        masks = np.zeros((len(self._expressions), *self.size), np.bool_)
        for mask, expression in zip(masks, self._expressions, strict=True):
            for annotation in expression.annotations:
                mask |= self._masks.mask(annotation, frame, len(self.frame_names), self.size)
        return masks
