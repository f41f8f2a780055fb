"""COCO's run-length encoded masks, both forms, read as hostile input."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

MAXIMUM_SIDE = 1 << 14  # pixels; a file cannot ask for more memory than a picture of this side


class RunLengthError(ValueError):
    """What came is no mask; the message says why."""


def mask_from_rle(rle: Any) -> NDArray[np.bool_]:
    """bool [H, W] from {"size": [H, W], "counts": list of run lengths or COCO's compressed text}.

    Runs alternate between outside and inside, beginning outside, down the columns from the left. Raises RunLengthError.
    """
    size, counts = (rle.get("size"), rle.get("counts")) if isinstance(rle, dict) else (None, None)
    if not isinstance(size, list) or len(size) != 2 or not all(_is_length(side, MAXIMUM_SIDE) for side in size):
        raise RunLengthError(f"got {str(rle)[:60]!r}, expected a mask with a size [height, width] and counts")
    height, width = size
    if isinstance(counts, str):
        counts = _run_lengths(counts)
    if not isinstance(counts, list) or not all(_is_length(run, height * width) for run in counts):
        raise RunLengthError(f"got counts {str(counts)[:60]!r}, expected run lengths or their compressed text")
    if sum(counts) != height * width:
        raise RunLengthError(f"got runs of {sum(counts)} pixels, expected {height} x {width}")
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, counts).reshape(width, height).T


def _run_lengths(text: str) -> list[int]:
    """COCO's compressed text: little-endian groups of five bits, each run but the first three less the one before last."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        group = ord(character) - 48
        if not 0 <= group < 64 or shift > 40:
            raise RunLengthError(f"got {character!r} in compressed counts, expected COCO's run-length text")
        value |= (group & 31) << shift
        shift += 5
        if not group & 32:
            value -= (group & 16) << (shift - 4)  # the sign bit of the last group
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    if shift:
        raise RunLengthError(
            "got compressed counts that end in the middle of a number, expected COCO's run-length text"
        )
    return runs


def _is_length(value: Any, maximum: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= maximum
