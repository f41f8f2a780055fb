"""J and F: how well masks agree with the truth, as the DAVIS evaluator defines them and every set here averages them.

Sources: Perazzi et al., CVPR 2016; davis2017-evaluation at ac7c43f, davis2017/metrics.py. Values are equal to that code's,
bit for bit.
"""

import math
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

BOUNDARY_TOLERANCE = 0.008  # of the picture's diagonal: how far apart two boundaries may lie and still match

Mask = NDArray[np.bool_]  # [H, W]


def region_similarity(mask: Mask, truth: Mask) -> float:
    """J: intersection over union of two masks; 1 where both are empty."""
    union = int(np.count_nonzero(mask | truth))
    return int(np.count_nonzero(mask & truth)) / union if union else 1.0


def boundary_accuracy(mask: Mask, truth: Mask) -> float:
    """F: harmonic mean of precision and recall of the mask's boundary.

    A boundary pixel counts as found if the other boundary comes within ceil(BOUNDARY_TOLERANCE * diagonal) pixels of it.
    Two masks without a boundary agree, one without does not: a mask is without where it is empty or fills the picture.
    """
    found, wanted = boundary_map(mask), boundary_map(truth)
    found_box, wanted_box = cv2.boundingRect(found), cv2.boundingRect(wanted)
    if not found_box[2] or not wanted_box[2]:
        return float(found_box[2] == wanted_box[2])
    # Beyond the box that holds both boundaries there is nothing to dilate and nothing to match.
    left, top = (min(found_box[side], wanted_box[side]) for side in (0, 1))
    right, bottom = (max(box[side] + box[side + 2] for box in (found_box, wanted_box)) for side in (0, 1))
    box = np.s_[top:bottom, left:right]
    found, wanted = np.ascontiguousarray(found[box]), np.ascontiguousarray(wanted[box])
    disc = _disc(math.ceil(BOUNDARY_TOLERANCE * math.hypot(*mask.shape)))
    precision = cv2.countNonZero(cv2.bitwise_and(found, cv2.dilate(wanted, disc))) / cv2.countNonZero(found)
    recall = cv2.countNonZero(cv2.bitwise_and(wanted, cv2.dilate(found, disc))) / cv2.countNonZero(wanted)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary_map(mask: Mask) -> NDArray[np.uint8]:
    """1 where a pixel differs from its neighbour to the right, below, or below on the right; [H, W].

    Beyond the picture's edge a mask goes on as it ends, so an edge of the picture is no boundary.
    """
    pixels = np.ascontiguousarray(mask).view(np.uint8)
    changes = np.zeros(pixels.shape, np.uint8)
    inner, corner = changes[:-1, :-1], pixels[:-1, :-1]
    np.bitwise_xor(corner, pixels[:-1, 1:], out=inner)
    inner |= corner ^ pixels[1:, :-1]
    inner |= corner ^ pixels[1:, 1:]
    np.bitwise_xor(pixels[-1, :-1], pixels[-1, 1:], out=changes[-1, :-1])
    np.bitwise_xor(pixels[:-1, -1], pixels[1:, -1], out=changes[:-1, -1])
    return changes


@lru_cache(maxsize=8)
def _disc(radius: int) -> NDArray[np.uint8]:
    offsets = np.arange(-radius, radius + 1)
    disc: NDArray[np.uint8] = (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(np.uint8)
    return disc
