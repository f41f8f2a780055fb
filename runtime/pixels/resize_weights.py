"""Resizing as a matrix product: the weights Pillow and OpenCV use along one axis, as a matrix [output, input]."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

DIGIT_BITS = 8  # of the fixed-point digits below
PRECISION_BITS = 22  # of Pillow's fixed-point weights for bytes (Resample.c: PRECISION_BITS)


def antialiased(source: int, target: int) -> NDArray[np.float64]:
    """Bilinear with Pillow's antialiasing (ImagingResample, triangle filter): what shrinking needs."""
    return _filtered(source, target, range(target), 1.0, lambda x: max(0.0, 1.0 - abs(x)))


def bicubic(source: int, target: int, kept: range) -> NDArray[np.float64]:
    """Bicubic, a = -0.5, with Pillow's antialiasing: the rows `kept` of the matrix, [kept, source]."""
    return _filtered(source, target, kept, 2.0, _cubic)


def bilinear(source: int, target: int) -> NDArray[np.float64]:
    """Bilinear between pixel centres, clamped at the edges (OpenCV's INTER_LINEAR): what growing needs."""
    weights = np.zeros((target, source))
    for row in range(target):
        centre = (row + 0.5) * source / target - 0.5
        left = math.floor(centre)
        share = np.float32(centre - left)
        for place, share_of_place in ((left, 1 - share), (left + 1, share)):
            weights[row, min(max(place, 0), source - 1)] += share_of_place
    return weights


def sam_weights(source: int, target: int) -> NDArray[np.float32]:
    """float32 [target, source] along one axis of SAM 2's input: antialiased where it shrinks."""
    if source == target:
        return np.eye(target, dtype=np.float32)
    return (antialiased if source > target else bilinear)(source, target).astype(np.float32)


def fixed_point(weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """Pillow's integer weights for bytes: weight * 2^22, rounded to the nearest, halves away from zero."""
    return np.trunc(weights * (1 << PRECISION_BITS) + np.where(weights < 0, -0.5, 0.5)).astype(np.int64)


def fixed_point_digits(weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """Pillow's integer weights as three digits of base 256, float32 [3, output, input], the lowest digit first.

    `fixed_point` of a weight equals digit0 + 256 * digit1 + 65536 * digit2. Digits lie in
    -128..128, so that products with bytes add up exactly in float32 for any picture less than 500 times as large.
    """
    rounded = fixed_point(weights)
    digits, base = [], 1 << DIGIT_BITS
    for _ in range(2):
        digit = (rounded + base // 2) % base - base // 2
        digits.append(digit)
        rounded = (rounded - digit) >> DIGIT_BITS
    return np.stack([*digits, rounded]).astype(np.float32)


def _filtered(
    source: int, target: int, kept: range, support: float, kernel: Callable[[float], float]
) -> NDArray[np.float64]:
    """Resample.c, precompute_coeffs: the kernel is stretched by the scale where the axis shrinks."""
    weights = np.zeros((len(kept), source))
    scale = source / target
    stretch = max(1.0, scale)
    reach = support * stretch
    for row, place_in_target in enumerate(kept):
        centre = (place_in_target + 0.5) * scale
        first = max(0, int(centre - reach + 0.5))
        last = min(source, int(centre + reach + 0.5))
        values = np.array([kernel((place - centre + 0.5) * (1.0 / stretch)) for place in range(first, last)])
        weights[row, first:last] = values / values.sum()
    return weights


def _cubic(x: float) -> float:
    a, x = -0.5, abs(x)
    if x < 1.0:
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * a if x < 2.0 else 0.0
