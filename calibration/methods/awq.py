"""Scales that make rounding to 4 bits hurt least, found on real activations (AWQ, Lin et al., MLSys 2024, section 3.2).

A channel's scale is a power of its mean magnitude, the same power for all channels of a group: the one whose rounded
products are nearest to the exact ones is kept, no scaling at all being among the candidates.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

POWERS = tuple(step / 20 for step in range(20))  # 0, 0.05, ... 0.95; 0 is no scaling
SMALLEST = 1e-4  # of a scale: a channel that never speaks must not be divided by zero

Round = Callable[[torch.Tensor, int], torch.Tensor]  # a matrix [N, K] and its place in the group, to the rounded one


class Search(NamedTuple):
    """What a search came to."""

    scale: torch.Tensor | None  # [K] float32; None: no scaling is best
    power: float
    error: float  # sum of squares of the products' differences, all matrices of the group


@torch.inference_mode()
def search_scale(
    rows: torch.Tensor,
    magnitude: torch.Tensor,
    matrices: Sequence[torch.Tensor],
    round_matrix: Round,
    powers: Sequence[float] = POWERS,
) -> Search:
    """rows [n, K] float32: inputs of the matrices [N, K] float32; magnitude [K]: mean |x| over all rows ever seen."""
    errors: list[float] = []
    candidates = [scale_of(magnitude, power) for power in powers]
    for scale in candidates:
        error = 0.0
        for place, matrix in enumerate(matrices):
            difference = round_matrix(matrix * scale, place) / scale - matrix
            error += float((rows @ difference.T).square().sum(dtype=torch.float64))
        errors.append(error)
    best = min(range(len(errors)), key=errors.__getitem__)
    return Search(candidates[best] if powers[best] else None, powers[best], errors[best])


def scale_of(magnitude: torch.Tensor, power: float) -> torch.Tensor:
    """magnitude ** power, its largest and smallest value as far above 1 as below."""
    scale = magnitude.float().pow(power).clamp_min(SMALLEST)
    return scale / (scale.max() * scale.min()).sqrt()
