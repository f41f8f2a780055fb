"""Ref-DAVIS17, for both protocols that papers report. Their numbers differ.

`RefDavis17Dataset`: the protocol of ReferFormer (06fc218) and the DAVIS evaluator: object numbers in
Annotations_unsupervised/480p/<video>/<frame>.png, four sentences an object, one for each annotator.
`RefDavis17ExpressionDataset`: the protocol of GLUS and VISA (utils/eval_davis.py): each sentence against its annotation in
valid/mask_dict.pkl. Annotations are counted over sorted videos and expression keys sorted as text: 0, 1, 10, 11, 2.
"""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glus_edge.benchmarks.datasets.annotation_file import AnnotationFile
from glus_edge.benchmarks.datasets.dataset import Expression
from glus_edge.benchmarks.datasets.folder_video import FolderVideo
from glus_edge.benchmarks.datasets.mevis_dataset import MaskDictionary, MeantExpression, MevisVideo
from glus_edge.benchmarks.datasets.png_masks import read_object_numbers
from glus_edge.benchmarks.metrics.metric import Truth
from glus_edge.benchmarks.metrics.ref_davis17 import ANNOTATORS, OBJECTS, VOID
from glus_edge.runtime.errors import InputError

IMAGES, EXPRESSIONS = "valid/JPEGImages", "meta_expressions/valid/meta_expressions.json"
ANNOTATIONS, VIDEOS = "Annotations_unsupervised/480p", "ImageSets/2017/val.txt"
MASKS = ("valid/mask_dict.pkl", "valid/mask_dict.json")
KINDS = ("first frame", "full video")  # what an annotator saw: annotators 0 and 2 the first frame alone
_LAYOUT = f"expected a folder with {IMAGES} and {EXPRESSIONS}, as Ref-DAVIS17 has it"


class RefDavis17Dataset:
    """See Dataset. InputError: the folder is missing, or a file of it is not what Ref-DAVIS17's is."""

    def __init__(self, folder: Path) -> None:
        """`folder`: with Annotations_unsupervised and ImageSets in it, or in its folder DAVIS."""
        self.name = "ref-davis17"
        self._folder = folder
        self._davis = folder / "DAVIS" if (folder / "DAVIS").is_dir() else folder
        self._file = AnnotationFile(folder / EXPRESSIONS, _LAYOUT)
        entries = dict(self._file.videos(IMAGES))
        path = self._davis / VIDEOS
        try:
            names = path.read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read ({error}), expected the names of the videos") from error
        missing = [name for name in names if name not in entries]
        if missing or not names:
            raise InputError(f"{path}: got {missing[:1] or 'no video'}, expected videos of {self._file.path}")
        self._videos = [(name, entries[name]) for name in names]

    def __len__(self) -> int:
        return len(self._videos)

    def __getitem__(self, number: int, /) -> "RefDavis17Video":
        name, entry = self._videos[number]
        where = f"videos.{name}"
        entry = self._file.object(entry, where)
        frames = self._file.frames(entry, where)
        found = {key: (value, place) for key, value, place in self._file.expressions(entry, where)}
        keys = [str(place) for place in range(len(found))]
        if set(keys) != set(found) or len(keys) % ANNOTATORS:
            raise InputError(
                f"{self._file.place(where)}.expressions: got {len(found)} keys, expected 0, 1, ... for {ANNOTATORS} sentences "
                "an object"
            )
        sentences = tuple(Expression(key, self._file.text(*_text(found[key])), KINDS[int(key) % 2]) for key in keys)
        annotations = self._davis / ANNOTATIONS / name
        return RefDavis17Video(name, self._folder / IMAGES, annotations, frames, sentences, self._file.path)


def _text(found: tuple[dict[str, Any], str]) -> tuple[dict[str, Any], str, str]:
    value, place = found
    return value, "exp", place


class RefDavis17Video(FolderVideo):
    """See ReferringVideo."""

    def __init__(
        self,
        name: str,
        images: Path,
        annotations: Path,
        frames: tuple[str, ...],
        sentences: tuple[Expression, ...],
        listed_in: Path,
    ) -> None:
        super().__init__(name, images, frames, sentences, listed_in)
        self._annotations = annotations
        self.objects = len(sentences) // ANNOTATORS

    def truth(self, frame: int) -> NDArray[np.bool_]:
        """See ReferringVideo; frames have been opened. Void pixels belong to no object."""
        numbers = self._numbers(frame)
        return np.repeat(np.stack([numbers == each + 1 for each in range(self.objects)]), ANNOTATORS, axis=0)

    def scoring_truth(self, frame: int) -> Truth:
        """What RefDavis17Metric reads of one frame. InputError: the first frame has not the objects of the sentences."""
        numbers = self._numbers(frame)
        if frame == 0:  # the evaluator counts the objects there
            shown = int(numbers[numbers != VOID].max(initial=0))
            if shown != self.objects:
                raise InputError(
                    f"{self._annotations}: got {shown} objects on the first frame, expected {self.objects}, with "
                    f"{ANNOTATORS} sentences each"
                )
        return {OBJECTS: numbers}

    def _numbers(self, frame: int) -> NDArray[np.uint8]:
        return read_object_numbers(self._annotations / f"{self.frame_names[frame]}.png", self.size)


class RefDavis17ExpressionDataset:
    """See Dataset. InputError: the folder is missing, or a file of it is not what the protocol of GLUS and VISA reads."""

    def __init__(self, folder: Path) -> None:
        self.name = "ref-davis17-expressions"
        self._folder = folder
        self._file = AnnotationFile(folder / EXPRESSIONS, _LAYOUT)
        self._videos = self._file.videos(IMAGES)
        pickled, plain = (folder / name for name in MASKS)
        self._masks = read_pickled_masks(pickled) if pickled.exists() else MaskDictionary.read(plain, _LAYOUT)
        self._first: list[int] = []  # annotation of each video's first sentence
        count = 0
        for name, entry in self._videos:
            self._first.append(count)
            where = f"videos.{name}"
            count += len(list(self._file.expressions(self._file.object(entry, where), where)))

    def __len__(self) -> int:
        return len(self._videos)

    def __getitem__(self, number: int, /) -> MevisVideo:
        name, entry = self._videos[number]
        where = f"videos.{name}"
        expressions = []
        for place, (key, value, inside) in enumerate(sorted(self._file.expressions(entry, where), key=lambda e: e[0])):
            annotation = str(self._first[number] + place)
            if annotation not in self._masks.annotations:
                raise InputError(
                    f"{self._masks.path}: got no annotation {annotation}, expected one for each sentence; it is that of "
                    f"{inside}"
                )
            sentence = Expression(key, self._file.text(value, "exp", inside), "")
            expressions.append(MeantExpression(sentence, (annotation,)))
        frames = self._file.frames(entry, where)
        images = self._folder / IMAGES
        return MevisVideo(name, images, frames, tuple(expressions), self._masks, self._file.path)


class _PlainUnpickler(pickle.Unpickler):
    """Reads lists, dictionaries, texts and numbers. Anything else would be code of the file's own."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name}, which is neither list, dictionary, text nor number")


def read_pickled_masks(path: Path) -> MaskDictionary:
    """mask_dict.pkl, without running anything of it. InputError: it cannot be read, or holds more than masks."""
    try:
        # The pickle module raises nearly anything on a damaged file.
        document = _PlainUnpickler(io.BytesIO(path.read_bytes())).load()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {_LAYOUT}") from error
    except (
        *(pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError),
        *(ImportError, OverflowError, RecursionError, MemoryError),
    ) as error:
        raise InputError(f"{path}: got {error}, expected a pickle of run-length codes") from error
    if not isinstance(document, dict):
        raise InputError(f"{path}: got {type(document).__name__}, expected a dictionary of run-length codes")
    return MaskDictionary(path, {str(key): _with_text(codes) for key, codes in document.items()})


def _with_text(codes: Any) -> Any:
    """pycocotools' codes have their counts in bytes."""
    if not isinstance(codes, list):
        return codes
    return [
        {**code, "counts": code["counts"].decode("latin-1")}
        if isinstance(code, dict) and isinstance(code.get("counts"), bytes)
        else code
        for code in codes
    ]
