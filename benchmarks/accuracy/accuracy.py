"""J and F: how well masks agree with the truth, as DAVIS defines them and MeViS averages them."""

import math
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

BOUNDARY_TOLERANCE = 0.008  # of the picture's diagonal: how far apart two boundaries may lie and still match

Mask = NDArray[np.bool_]  # [H, W]


def region_similarity(mask: Mask, truth: Mask) -> float:
    """J: intersection over union of two masks; 1 where both are empty (Perazzi et al., CVPR 2016)."""
    union = int(np.count_nonzero(mask | truth))
    return int(np.count_nonzero(mask & truth)) / union if union else 1.0


def boundary_accuracy(mask: Mask, truth: Mask) -> float:
    """F: harmonic mean of precision and recall of the mask's boundary (Perazzi et al., CVPR 2016).

    A boundary pixel counts as found if the other boundary comes within ceil(BOUNDARY_TOLERANCE * diagonal) pixels of it.
    Two masks without a boundary agree, one without does not: a mask is without where it is empty or fills the picture.
    """
    found, wanted = boundary_map(mask), boundary_map(truth)
    found_count, wanted_count = int(found.sum()), int(wanted.sum())
    if not found_count or not wanted_count:
        return float(found_count == wanted_count)
    disc = _disc(math.ceil(BOUNDARY_TOLERANCE * math.hypot(*mask.shape)))
    precision = int(found[cv2.dilate(wanted, disc) > 0].sum()) / found_count
    recall = int(wanted[cv2.dilate(found, disc) > 0].sum()) / wanted_count
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary_map(mask: Mask) -> NDArray[np.uint8]:
    """1 where a pixel differs from its neighbour to the right, below, or below on the right; [H, W].

    Beyond the picture's edge a mask goes on as it ends, so an edge of the picture is no boundary.
    """
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    right, below, diagonal = padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    changes: Mask = (mask != right) | (mask != below) | (mask != diagonal)
    return changes.astype(np.uint8)


@lru_cache(maxsize=8)
def _disc(radius: int) -> NDArray[np.uint8]:
    offsets = np.arange(-radius, radius + 1)
    disc: NDArray[np.uint8] = (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(np.uint8)
    return disc
