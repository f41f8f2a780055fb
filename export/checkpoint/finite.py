"""Weights that are numbers, and within the dtype they are to be stored in."""

import math

import numpy as np
import torch

from glus_edge.runtime.errors import CheckpointError


def check_finite(name: str, weights: torch.Tensor, dtype: "np.dtype[np.floating]") -> None:
    """Raises CheckpointError naming a tensor that holds NaN, infinity, or a value beyond `dtype`."""
    if not weights.numel():
        return
    low, high = (bound.item() for bound in weights.aminmax())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise CheckpointError(
            f"{name}: holds NaN or infinity, expected finite weights; copy the checkpoint again, or take an earlier one of "
            "its training"
        )
    bound = float(np.finfo(dtype).max)
    if max(-low, high) > bound:
        raise CheckpointError(
            f"{name}: holds {max(-low, high):g}, expected at most {bound:g} for {dtype}; export with fp32"
        )
