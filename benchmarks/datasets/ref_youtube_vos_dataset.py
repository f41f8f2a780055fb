"""Ref-YouTube-VOS: meta_expressions/<split>/meta_expressions.json and <split>/JPEGImages/<video>.

`valid`: the file lists 507 videos. Those of the test split, which its own file lists, are left out: 202 remain. The server
keeps the truth. `train`: train/Annotations/<video>/<frame>.png holds object numbers.
Source: ReferFormer at 06fc218, inference_ytvos.py.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glus_edge.benchmarks.datasets.annotation_file import AnnotationFile
from glus_edge.benchmarks.datasets.dataset import Expression
from glus_edge.benchmarks.datasets.folder_video import FolderVideo
from glus_edge.benchmarks.datasets.png_masks import read_object_numbers
from glus_edge.runtime.errors import InputError

VALID, TRAIN, TEST = "valid", "train", "test"
ANNOTATIONS, IMAGES = "Annotations", "JPEGImages"
_LAYOUT = "expected a folder with meta_expressions, train and valid, as Ref-YouTube-VOS has it"


class RefYoutubeVosDataset:
    """See Dataset. InputError: the folder is missing, or a file of it is not what Ref-YouTube-VOS's is."""

    def __init__(self, folder: Path, split: str = VALID) -> None:
        self.name = f"ref-youtube-vos {split}"
        self._folder, self._split = folder / split, split
        self._file = _expressions(folder, split)
        self._videos = self._file.videos(f"{split}/{IMAGES}")
        if split == VALID:
            of_test = {name for name, _ in _expressions(folder, TEST).videos(f"{TEST}/{IMAGES}")}
            self._videos = [(name, entry) for name, entry in self._videos if name not in of_test]
            if not self._videos:
                raise InputError(f"{self._file.path}: got none but videos of the test split, expected others as well")

    def __len__(self) -> int:
        return len(self._videos)

    def __getitem__(self, number: int, /) -> "RefYoutubeVosVideo":
        name, entry = self._videos[number]
        where = f"videos.{name}"
        entry = self._file.object(entry, where)
        frames = self._file.frames(entry, where)
        sentences, objects = [], []
        for key, expression, place in self._file.expressions(entry, where):
            sentences.append(Expression(key, self._file.text(expression, "exp", place), ""))
            if self._split == TRAIN:
                objects.append(self._object(expression, place))
        return RefYoutubeVosVideo(self._folder, name, frames, tuple(sentences), tuple(objects), self._file.path)

    def _object(self, expression: dict[str, object], where: str) -> int:
        text = self._file.identifier(expression, "obj_id", where)
        if not text.isascii() or not text.isdecimal() or not 0 < int(text) < 255:
            raise InputError(f"{self._file.place(where)}.obj_id: got {text[:60]!r}, expected a number from 1 to 254")
        return int(text)


class RefYoutubeVosVideo(FolderVideo):
    """See ReferringVideo."""

    def __init__(
        self,
        folder: Path,
        name: str,
        frames: tuple[str, ...],
        sentences: tuple[Expression, ...],
        objects: tuple[int, ...],
        listed_in: Path,
    ) -> None:
        """`objects`: every sentence's number in the annotations; () where the server keeps them."""
        super().__init__(name, folder / IMAGES, frames, sentences, listed_in)
        self._annotations, self._objects = folder / ANNOTATIONS / name, objects

    def truth(self, frame: int) -> NDArray[np.bool_]:
        """See ReferringVideo; frames have been opened."""
        assert self._objects, "the server keeps the truth"
        numbers = read_object_numbers(self._annotations / f"{self.frame_names[frame]}.png", self.size)
        return np.stack([numbers == each for each in self._objects])


def _expressions(folder: Path, split: str) -> AnnotationFile:
    return AnnotationFile(folder / "meta_expressions" / split / "meta_expressions.json", _LAYOUT)
