"""What every format is written from: a video's frames and the masks that a run has drawn."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Masks = NDArray[np.bool_]  # [sentences, H, W]


@dataclass(frozen=True)
class MaskedFrame:
    """A frame that was segmented."""

    index: int  # of the frame in the video, from 0
    stem: str  # the name of its files, without suffix
    masks: Callable[[], Masks]  # read when they are needed, and not kept


@dataclass(frozen=True)
class MaskedVideo:
    """A video that was segmented, wholly or in part."""

    name: str
    sentences: tuple[str, ...]
    frames: tuple[MaskedFrame, ...]  # in the video's order


class MaskFormat(Protocol):
    """Writes a video's masks."""

    def __call__(self, folder: Path, video: MaskedVideo) -> None:
        """Writes into an existing folder. OutputError: the disk is full, or the format cannot hold the masks."""
        ...


def without_overlap(masks: Masks) -> NDArray[np.uint16]:
    """Sentence numbers from 1, 0 where none is meant, [H, W]; where masks overlap the earlier sentence wins."""
    numbers = np.zeros(masks.shape[1:], np.uint16)
    for number in range(len(masks), 0, -1):
        numbers[masks[number - 1]] = number
    return numbers
