"""Long-RVOS: JPEGImages/<video>, Annotations/<video>/<object>/<frame>.png and meta_expressions.json of one split.

Source: Long_RVOS at 447682a, eval/eval_long_rvos/. A frame without a PNG has no object.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glus_edge.benchmarks.datasets.annotation_file import AnnotationFile
from glus_edge.benchmarks.datasets.dataset import Expression
from glus_edge.benchmarks.datasets.folder_video import FolderVideo
from glus_edge.benchmarks.datasets.png_masks import read_mask
from glus_edge.benchmarks.metrics.long_rvos import KINDS
from glus_edge.runtime.errors import InputError

EXPRESSIONS, ANNOTATIONS, IMAGES = "meta_expressions.json", "Annotations", "JPEGImages"
_LAYOUT = f"expected the folder of a split with {EXPRESSIONS}, {ANNOTATIONS} and {IMAGES}, as Long-RVOS has it"


class LongRvosDataset:
    """See Dataset. InputError: the folder is missing, or a file of it is not what Long-RVOS's is."""

    def __init__(self, folder: Path) -> None:
        self.name = "long-rvos"
        self._folder = folder
        self._file = AnnotationFile(folder / EXPRESSIONS, _LAYOUT)
        self._videos = self._file.videos(IMAGES)
        if not (folder / ANNOTATIONS).is_dir():  # each missing PNG is an empty mask: without the folder, all would be
            raise InputError(f"{folder / ANNOTATIONS}: no such folder; {_LAYOUT}")

    def __len__(self) -> int:
        return len(self._videos)

    def __getitem__(self, number: int, /) -> "LongRvosVideo":
        name, entry = self._videos[number]
        where = f"videos.{name}"
        entry = self._file.object(entry, where)
        frames = self._file.frames(entry, where)
        if not (self._folder / ANNOTATIONS / name).is_dir():
            raise InputError(f"{self._folder / ANNOTATIONS / name}: no such folder; {_LAYOUT}")
        sentences, objects = [], []
        for key, expression, place in self._file.expressions(entry, where):
            kind = self._file.text(expression, "type", place, f"one of {', '.join(KINDS)}")
            if kind not in KINDS:
                raise InputError(
                    f"{self._file.place(place)}.type: got {kind[:60]!r}, expected one of {', '.join(KINDS)}"
                )
            sentences.append(Expression(key, self._file.text(expression, "exp", place), kind))
            objects.append(self._file.identifier(expression, "obj_id", place))
        return LongRvosVideo(self._folder, name, frames, tuple(sentences), tuple(objects), self._file.path)


class LongRvosVideo(FolderVideo):
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
        super().__init__(name, folder / IMAGES, frames, sentences, listed_in)
        self._annotations, self._objects = folder / ANNOTATIONS / name, objects

    def truth(self, frame: int) -> NDArray[np.bool_]:
        """See ReferringVideo; frames have been opened."""
        name = f"{self.frame_names[frame]}.png"
        masks = {each: self._mask(self._annotations / each / name) for each in set(self._objects)}
        return np.stack([masks[each] for each in self._objects])

    def _mask(self, path: Path) -> NDArray[np.bool_]:
        return read_mask(path, self.size) if path.exists() else np.zeros(self.size, np.bool_)
