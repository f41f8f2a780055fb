"""J and F as the DAVIS evaluator first had them: frame by frame in numpy, boundaries dilated with scikit-image's method.

The baseline of `glus-edge bench metrics`. scikit-image's binary_dilation is SciPy's.
"""

import math

import numpy as np
from numpy.typing import NDArray


def plain_j_and_f(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> tuple[float, float]:
    """J and F of masks bool [H, W]."""
    union = np.sum(mask | truth)
    region = 1.0 if np.isclose(union, 0) else float(np.sum(mask & truth) / union)
    return region, _boundary_measure(mask, truth)


def _boundary_measure(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    from scipy.ndimage import binary_dilation  # type: ignore[attr-defined]  # SciPy has no types

    radius = math.ceil(0.008 * np.linalg.norm(mask.shape))
    line = np.arange(-radius, radius + 1)
    disc = line[:, None] ** 2 + line**2 <= radius**2
    found, wanted = _boundary(mask), _boundary(truth)
    found_wide, wanted_wide = (binary_dilation(each, disc) for each in (found, wanted))
    found_count, wanted_count = np.sum(found), np.sum(wanted)
    if found_count == 0 or wanted_count == 0:
        return float(found_count == wanted_count)
    precision = np.sum(found & wanted_wide) / float(found_count)
    recall = np.sum(wanted & found_wide) / float(wanted_count)
    return 0.0 if precision + recall == 0 else float(2 * precision * recall / (precision + recall))


def _boundary(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    right, below, diagonal = np.zeros_like(mask), np.zeros_like(mask), np.zeros_like(mask)
    right[:, :-1], below[:-1], diagonal[:-1, :-1] = mask[:, 1:], mask[1:], mask[1:, 1:]
    edges: NDArray[np.bool_] = (mask ^ right) | (mask ^ below) | (mask ^ diagonal)
    edges[-1] = mask[-1] ^ right[-1]
    edges[:, -1] = mask[:, -1] ^ below[:, -1]
    edges[-1, -1] = False
    return edges
