"""The sine position encodings of SAM 2 as constants."""

import torch
from sam2.modeling.position_encoding import PositionEmbeddingSine
from torch import Tensor


def sine_positions(encoding: PositionEmbeddingSine, grid: int) -> Tensor:
    """Encoding of a square map, [grid * grid, channels], row by row."""
    channels = 2 * encoding.num_pos_feats
    positions: Tensor = encoding(torch.zeros(1, channels, grid, grid))
    return positions[0].flatten(1).T.contiguous()
