"""How a benchmark's server or evaluator wants predictions: folders, file names, values; and what a missing file counts."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from glus_edge.benchmarks.datasets.dataset import ReferringVideo
from glus_edge.benchmarks.datasets.png_masks import read_grey, read_object_numbers
from glus_edge.benchmarks.datasets.reasonvos_dataset import ReasonVosVideo
from glus_edge.benchmarks.metrics.ref_davis17 import ANNOTATORS, merge_objects
from glus_edge.runtime.errors import InputError
from glus_edge.runtime.output.mask_png import png_from_indices, png_from_mask
from glus_edge.runtime.video.frame import FrameSize

# What the evaluator does about a folder or file that is not there.
ERROR, ZERO, SKIP, EMPTY = "error", "zero", "skip", "empty"


class MaskFile(NamedTuple):
    """One file of a submission."""

    path: str  # in the submission, parts joined by /
    content: bytes


class MissingPredictionError(Exception):
    """A file of a submission that is not there; `rule` is what the evaluator makes of it: ERROR, ZERO or SKIP."""

    def __init__(self, path: Path, rule: str) -> None:
        super().__init__(f"{path}: no such file, expected a prediction for every frame of every sentence")
        self.path, self.rule = path, rule


class Layout(Protocol):
    """The files of a submission."""

    @property
    def joint(self) -> bool:
        """Whether a file holds the masks of several sentences."""
        ...

    def paths(self, video: ReferringVideo, index: int, stem: str, places: range) -> list[str]:
        """Where the files of one frame lie, for these sentences."""
        ...

    def files(
        self, video: ReferringVideo, index: int, stem: str, first: int, masks: NDArray[np.bool_]
    ) -> Iterator[MaskFile]:
        """The files of one frame, its index and name: masks bool [sentences, H, W] of the sentences from `first` on."""
        ...

    def read(
        self, root: Path, video: ReferringVideo, index: int, stem: str, place: int, size: FrameSize
    ) -> NDArray[np.bool_]:
        """The mask of sentence `place` on one frame, bool [H, W]. MissingPredictionError; InputError: it is no mask."""
        ...


@dataclass(frozen=True)
class ExpressionFolders:
    """A folder for each sentence: <top>/<video>/<sentence>/<frame>.png."""

    top: str = ""  # a folder above all videos
    value: int = 255  # of the object's pixels
    missing_folder: str = ERROR  # of a video, or of a sentence
    missing_frame: str = ERROR
    folder: Callable[[ReferringVideo, int], str] = lambda video, place: f"{video.name}/{video.sentences[place].key}"
    joint: bool = False

    def paths(self, video: ReferringVideo, index: int, stem: str, places: range) -> list[str]:
        """See Layout."""
        return [f"{self._folder(video, place)}/{stem}.png" for place in places]

    def files(
        self, video: ReferringVideo, index: int, stem: str, first: int, masks: NDArray[np.bool_]
    ) -> Iterator[MaskFile]:
        """See Layout."""
        paths = self.paths(video, index, stem, range(first, first + len(masks)))
        for path, mask in zip(paths, masks, strict=True):
            yield MaskFile(path, png_from_mask(mask, self.value))

    def read(
        self, root: Path, video: ReferringVideo, index: int, stem: str, place: int, size: FrameSize
    ) -> NDArray[np.bool_]:
        """See Layout."""
        folder = root / self._folder(video, place)
        path = folder / f"{stem}.png"
        if not folder.is_dir():
            raise MissingPredictionError(path, self.missing_folder)
        if not path.exists():
            if self.missing_frame != EMPTY:
                raise MissingPredictionError(path, self.missing_frame)
            return np.zeros(size, np.bool_)
        mask = read_grey(path, size)
        if self.value == 1 and mask.max(initial=0) > 1:
            raise InputError(
                f"{path}: got values up to {mask.max()}, expected 0 and 1: the evaluator counts others as wrong"
            )
        return np.asarray(mask > 0)

    def _folder(self, video: ReferringVideo, place: int) -> str:
        folder = self.folder(video, place)
        return f"{self.top}/{folder}" if self.top else folder


@dataclass(frozen=True)
class AnnotatorFolders:
    """Ref-DAVIS17: anno_<annotator>/<video>/<number>.png, object numbers in DAVIS's palette; frames are numbered from 0."""

    joint: bool = True

    def paths(self, video: ReferringVideo, index: int, stem: str, places: range) -> list[str]:
        """See Layout."""
        return [f"anno_{annotator}/{video.name}/{index:05d}.png" for annotator in range(ANNOTATORS)]

    def files(
        self, video: ReferringVideo, index: int, stem: str, first: int, masks: NDArray[np.bool_]
    ) -> Iterator[MaskFile]:
        """See Layout; the masks are those of all sentences."""
        for annotator, path in enumerate(self.paths(video, index, stem, range(len(masks)))):
            yield MaskFile(path, png_from_indices(merge_objects(masks[annotator::ANNOTATORS])))

    def read(
        self, root: Path, video: ReferringVideo, index: int, stem: str, place: int, size: FrameSize
    ) -> NDArray[np.bool_]:
        """See Layout."""
        number, annotator = divmod(place, ANNOTATORS)
        path = root / f"anno_{annotator}/{video.name}/{index:05d}.png"
        if not path.exists():
            raise MissingPredictionError(path, ERROR)
        return np.asarray(read_object_numbers(path, size) == number + 1)


def by_object(video: ReferringVideo, place: int) -> str:
    """VideoLISA's folders of ReasonVOS: <source>_<video>_<object>/<sentence>."""
    assert isinstance(video, ReasonVosVideo)
    return f"{video.objects[place]}/{video.sentences[place].key}"
