"""ReasonVOS: JPEGImages/<video>, Annotations/<source>_<video>_<object>/<frame>.png and meta_expressions.json.

Source: VideoLISA at 146f2bc, evaluation/reason_vos; GLUS at 8fd138b, utils/eval_reason_vos.py. Expressions are a list.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glus_edge.benchmarks.datasets.annotation_file import AnnotationFile, shown
from glus_edge.benchmarks.datasets.dataset import Expression
from glus_edge.benchmarks.datasets.folder_video import FolderVideo
from glus_edge.benchmarks.datasets.png_masks import read_mask
from glus_edge.runtime.errors import InputError

EXPRESSIONS, ANNOTATIONS, IMAGES = "meta_expressions.json", "Annotations", "JPEGImages"
_LAYOUT = f"expected a folder with {EXPRESSIONS}, {ANNOTATIONS} and {IMAGES}, as ReasonVOS has it"


class ReasonVosDataset:
    """See Dataset. InputError: the folder is missing, or a file of it is not what ReasonVOS's is."""

    def __init__(self, folder: Path) -> None:
        self.name = "reasonvos"
        self._folder = folder
        self._file = AnnotationFile(folder / EXPRESSIONS, _LAYOUT)
        self._videos = self._file.videos(IMAGES)

    def __len__(self) -> int:
        return len(self._videos)

    def __getitem__(self, number: int, /) -> "ReasonVosVideo":
        name, entry = self._videos[number]
        where = f"videos.{name}"
        entry = self._file.object(entry, where)
        frames = self._file.frames(entry, where)
        source = self._file.identifier(entry, "source", where)
        expressions = entry.get("expressions")
        if not isinstance(expressions, list) or not expressions:
            raise InputError(
                f"{self._file.place(where)}.expressions: got {shown(expressions)}, expected a list with at least one"
            )
        sentences, objects = [], []
        for place, expression in enumerate(expressions):
            sentence, annotation = self._expression(expression, f"{where}.expressions[{place}]")
            sentences.append(sentence)
            objects.append(f"{source}_{name}_{annotation}")
        keys = [sentence.key for sentence in sentences]
        if len(set(keys)) < len(keys):
            raise InputError(f"{self._file.place(where)}.expressions: got an exp_id twice, expected each once")
        return ReasonVosVideo(self._folder, name, frames, tuple(sentences), tuple(objects), self._file.path)

    def _expression(self, value: Any, where: str) -> tuple[Expression, str]:
        expression = self._file.object(value, where)
        kind = "sentence" if expression.get("is_sent") else "phrase"
        text = self._file.text(expression, "exp_text", where)
        key = self._file.identifier(expression, "exp_id", where)
        return Expression(key, text, kind), self._file.identifier(expression, "obj_id", where)


class ReasonVosVideo(FolderVideo):
    """See ReferringVideo."""

    def __init__(
        self,
        folder: Path,
        name: str,
        frames: tuple[str, ...],
        sentences: tuple[Expression, ...],
        objects: tuple[str, ...],
        listed_in: Path,
    ) -> None:
        """`objects`: for every sentence its folder in Annotations, `<source>_<video>_<object>`."""
        super().__init__(name, folder / IMAGES, frames, sentences, listed_in)
        self._annotations = folder / ANNOTATIONS
        self.objects = objects

    def truth(self, frame: int) -> NDArray[np.bool_]:
        """See ReferringVideo; frames have been opened."""
        name = f"{self.frame_names[frame]}.png"
        masks = {each: read_mask(self._annotations / each / name, self.size) for each in set(self.objects)}
        return np.stack([masks[each] for each in self.objects])
