"""What the decoder says of each mask, beside the mask: what the rules of the loop look at. All of it is free."""

from collections import deque
from dataclasses import dataclass, field
from statistics import median

import numpy as np
from numpy.typing import NDArray

TYPICAL_FRAMES = 10  # an area is compared with the median of this many frames before


@dataclass(frozen=True)
class MaskSignals:
    """Of one sentence's mask on one frame."""

    predicted_iou: float  # the decoder's guess, 0..1
    object_score: float  # logit that the object is there
    overlap: float  # IoU with the frame before's mask; 1 if both are empty
    area: float  # share of the frame
    growth: float = 1.0  # area over the median of the last TYPICAL_FRAMES; 1 if there are none or all were empty
    contested: bool = False  # another of the decoder's masks marks another place, if that was looked at
    likeness: float = 1.0  # smaller over larger of this area and that on the frame asked about last; 1 if both are 0
    agreement: float = 1.0  # with the mask decoded without memory: intersection over the smaller; 1 if not looked at
    # [S/4, S/4], what the others were read from: for rules of your own
    mask: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0), np.bool_), compare=False, repr=False)


class MaskSignalReader:
    """Reads the signals of frame after frame; keeps one mask and eleven areas a sentence."""

    def __init__(self, sentences: int) -> None:
        self._before: NDArray[np.bool_] | None = None  # [sentences, S/4, S/4], masks of the frame before
        self._areas: list[deque[float]] = [deque(maxlen=TYPICAL_FRAMES) for _ in range(sentences)]
        self._asked: list[float | None] = [None] * sentences  # areas on the frame asked about last

    def read(
        self,
        mask_logits: NDArray[np.float32],
        predicted_iou: NDArray[np.float32],
        object_score: NDArray[np.float32],
        all_mask_logits: NDArray[np.float32] | None = None,
        without_memory: NDArray[np.float32] | None = None,
    ) -> tuple[MaskSignals, ...]:
        """MaskSignals of every sentence, the last two of them if their masks are given.

        mask_logits and without_memory: [sentences, 1, h, w]; all_mask_logits: [sentences, 4, h, w].
        """
        masks = mask_logits[:, 0] > 0
        before = masks if self._before is None else self._before
        return tuple(
            MaskSignals(
                predicted_iou=float(predicted_iou[i]),
                object_score=float(object_score[i]),
                overlap=overlap(masks[i], before[i]),
                area=float(masks[i].mean()),
                growth=_growth(float(masks[i].mean()), self._areas[i]),
                likeness=_likeness(float(masks[i].mean()), self._asked[i]),
                contested=all_mask_logits is not None and contested(masks[i], all_mask_logits[i] > 0),
                agreement=1.0 if without_memory is None else agreement(masks[i], without_memory[i, 0] > 0),
                mask=masks[i],
            )
            for i in range(len(masks))
        )

    def observe(self, mask_logits: NDArray[np.float32], asked: bool = True) -> None:
        """Takes the masks as those of the frame before, once no more will be decoded for it.

        `asked`: the language model was asked about that frame.
        """
        self._before = mask_logits[:, 0] > 0
        for areas, mask in zip(self._areas, self._before, strict=True):
            areas.append(float(mask.mean()))
        if asked:
            self._asked = [areas[-1] for areas in self._areas]

    def select(self, sentences: tuple[int, ...]) -> "MaskSignalReader":
        """A second reader, of these sentences alone, that remembers the same of them."""
        other = MaskSignalReader(len(sentences))
        other._before = None if self._before is None else self._before[list(sentences)]
        other._areas = [self._areas[sentence].copy() for sentence in sentences]
        other._asked = [self._asked[sentence] for sentence in sentences]
        return other


def overlap(mask: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """IoU of two masks; 1 if both are empty."""
    union = np.count_nonzero(mask | other)
    return 1.0 if union == 0 else np.count_nonzero(mask & other) / union


def agreement(mask: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Intersection over the smaller of two masks; 1 if both are empty, 0 if one is."""
    sizes = int(np.count_nonzero(mask)), int(np.count_nonzero(other))
    if not min(sizes):
        return float(sizes[0] == sizes[1])
    return int(np.count_nonzero(mask & other)) / min(sizes)


def contested(mask: NDArray[np.bool_], alternatives: NDArray[np.bool_], limit: float = 0.7) -> bool:
    """Whether the box of some alternative mask [n, h, w] has an IoU of `limit` or less with the chosen mask's (DAM4SAM)."""
    box = _box(mask)
    if box is None:
        return False
    others = (_box(alternative) for alternative in alternatives)
    return any(other is not None and _box_overlap(box, other) <= limit for other in others)


def _growth(area: float, areas: deque[float]) -> float:
    usual = median(areas) if areas else 0.0
    return area / usual if usual else 1.0


def _likeness(area: float, asked: float | None) -> float:
    if asked is None or area == asked:
        return 1.0
    return min(area, asked) / max(area, asked)


def _box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """Top, left, bottom, right; the last two beyond the mask. None: it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _box_overlap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> float:
    height = min(one[2], other[2]) - max(one[0], other[0])
    width = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0, height) * max(0, width)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)
