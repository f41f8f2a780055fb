"""ReVOS: JPEGImages/<video>, meta_expressions_valid_.json, mask_dict.json and mask_dict_foreground.json.

Source: VISA at ec158fd, tools/eval_revos.py. Expressions have a type: 0 referring, 1 reasoning, 2 without a target.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glus_edge.benchmarks.datasets.annotation_file import AnnotationFile, shown
from glus_edge.benchmarks.datasets.dataset import NO_TARGET, Expression
from glus_edge.benchmarks.datasets.folder_video import FolderVideo
from glus_edge.benchmarks.datasets.mevis_dataset import (
    IMAGES,
    MASKS,
    MaskDictionary,
    MeantExpression,
    annotation_keys,
    decoded,
)
from glus_edge.benchmarks.metrics.metric import MASKS as MASKS_TRUTH
from glus_edge.benchmarks.metrics.metric import Truth
from glus_edge.benchmarks.metrics.revos import COUNTS, FOREGROUND, REASONING, REFERRING
from glus_edge.runtime.errors import InputError

EXPRESSIONS, FOREGROUND_MASKS = "meta_expressions_valid_.json", "mask_dict_foreground.json"
KINDS = (REFERRING, REASONING, NO_TARGET)  # by type_id
_LAYOUT = f"expected a folder with {EXPRESSIONS}, {MASKS}, {FOREGROUND_MASKS} and {IMAGES}, as ReVOS has it"


class RevosDataset:
    """See Dataset. InputError: the folder is missing, or a file of it is not what ReVOS's is."""

    def __init__(self, folder: Path) -> None:
        self.name = "revos"
        self._folder = folder
        self._file = AnnotationFile(folder / EXPRESSIONS, _LAYOUT)
        self._videos = self._file.videos(IMAGES)
        self._masks = MaskDictionary.read(folder / MASKS, _LAYOUT)
        self._foreground = AnnotationFile(folder / FOREGROUND_MASKS, _LAYOUT)

    def __len__(self) -> int:
        return len(self._videos)

    def __getitem__(self, number: int, /) -> "RevosVideo":
        name, entry = self._videos[number]
        where = f"videos.{name}"
        entry = self._file.object(entry, where)
        frames = self._file.frames(entry, where)
        expressions = tuple(
            self._expression(key, value, place) for key, value, place in self._file.expressions(entry, where)
        )
        foreground = self._foreground.object(self._foreground.document.get(name), name).get("masks_rle")
        if not isinstance(foreground, list) or len(foreground) != len(frames):
            raise InputError(
                f"{self._foreground.place(name)}.masks_rle: got {shown(foreground)}, expected {len(frames)} masks, one for "
                "each frame"
            )
        return RevosVideo(
            name, self._folder / IMAGES, frames, expressions, self._masks, foreground, self._foreground, self._file.path
        )

    def _expression(self, key: str, expression: dict[str, Any], where: str) -> MeantExpression:
        kind = expression.get("type_id")
        if type(kind) is not int or not 0 <= kind < len(KINDS):
            raise InputError(f"{self._file.place(where)}.type_id: got {shown(kind)}, expected 0, 1 or 2")
        text = self._file.text(expression, "exp", where)
        keys = annotation_keys(self._file, expression, where, self._masks)
        return MeantExpression(Expression(key, text, KINDS[kind]), keys)


class RevosVideo(FolderVideo):
    """See ReferringVideo."""

    def __init__(
        self,
        name: str,
        images: Path,
        frames: tuple[str, ...],
        expressions: tuple[MeantExpression, ...],
        masks: MaskDictionary,
        foreground: list[Any],
        foreground_file: AnnotationFile,
        listed_in: Path,
    ) -> None:
        super().__init__(name, images, frames, tuple(each.sentence for each in expressions), listed_in)
        self._expressions, self._masks = expressions, masks
        self._foreground, self._foreground_file = foreground, foreground_file

    def truth(self, frame: int) -> NDArray[np.bool_]:
        """See ReferringVideo; frames have been opened."""
        return self._counts(frame) > 0

    def scoring_truth(self, frame: int) -> Truth:
        """What RevosMetric reads of one frame."""
        counts = self._counts(frame)
        return {MASKS_TRUTH: counts > 0, COUNTS: counts, FOREGROUND: self._foreground_counts(frame)}

    def _counts(self, frame: int) -> NDArray[np.uint8]:
        counts = np.zeros((len(self._expressions), *self.size), np.uint8)
        for count, expression in zip(counts, self._expressions, strict=True):
            for annotation in expression.annotations:
                count += self._masks.mask(annotation, frame, len(self.frame_names), self.size)
        return counts

    def _foreground_counts(self, frame: int) -> NDArray[np.uint8]:
        """One mask or a list of them, as pycocotools decodes [H, W] or [H, W, k]; the sum in bytes."""
        code = self._foreground[frame]
        where = f"{self._foreground_file.place(self.name)}.masks_rle[{frame}]"
        counts = np.zeros(self.size, np.uint8)
        for number, each in enumerate(code if isinstance(code, list) else [code]):
            counts += decoded(each, f"{where}[{number}]" if isinstance(code, list) else where, self.size)
        return counts
