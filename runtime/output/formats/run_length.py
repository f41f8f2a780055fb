"""COCO's run-length code of a mask, in its compressed text."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def rle_from_mask(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """{"size": [H, W], "counts": text} of bool [H, W], as pycocotools encodes it."""
    return {"size": list(mask.shape), "counts": _text(run_lengths(mask.T.ravel()))}


def run_lengths(pixels: NDArray[np.bool_]) -> list[int]:
    """Lengths of runs of equal pixels of a row; the first one counts False, and may be 0."""
    edges = np.flatnonzero(np.diff(pixels)) + 1
    runs: list[int] = np.diff([0, *edges, len(pixels)]).tolist()
    return [0, *runs] if pixels[0] else runs


def _text(runs: list[int]) -> str:
    """Groups of five bits, low ones first, with a continuation bit; each run but the first three less the one before last."""
    letters: list[str] = []
    for place, run in enumerate(runs):
        value = run - runs[place - 2] if place > 2 else run
        more = True
        while more:
            group, value = value & 31, value >> 5
            more = value != (-1 if group & 16 else 0)
            letters.append(chr(48 + group + 32 * more))
    return "".join(letters)
