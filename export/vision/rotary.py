"""Rotary attention of SAM 2's memory attention, with real numbers only."""

from typing import Any

import torch
from torch import Tensor, nn

from glus_edge.export.vision.layers import attention
from glus_edge.runtime.errors import CheckpointError


class AxialRotaryAttention(nn.Module):
    """Attention with axial rotary positions (sam2.modeling.sam.transformer.RoPEAttention).

    SAM 2 rotates interleaved pairs of channels (2i, 2i+1) as complex numbers. Here the rows of q_proj and k_proj are
    reordered once, first channels of all pairs before second ones, so that a rotation is two contiguous halves:
    no complex numbers, no strided slices. Scores are unchanged, since queries and keys are reordered alike.
    """

    float32_cos: Tensor
    float32_sin: Tensor

    def __init__(self, stock: Any, grid: int) -> None:
        super().__init__()
        self.heads: int = stock.num_heads
        head_width = stock.internal_dim // stock.num_heads
        if head_width % 4:
            raise CheckpointError(f"SAM 2 configuration: got {head_width} channels a head, expected a multiple of 4")
        order = torch.arange(stock.internal_dim).view(self.heads, head_width // 2, 2).transpose(1, 2).flatten()
        self.q_proj = _reordered(stock.q_proj, order)
        self.k_proj = _reordered(stock.k_proj, order)
        self.v_proj, self.out_proj = stock.v_proj, stock.out_proj
        # The table comes from the number of tokens, so the configuration's feat_sizes does not matter.
        angles = torch.view_as_real(stock.compute_cis(end_x=grid, end_y=grid))
        self.register_buffer("float32_cos", angles[:, None, :, 0].contiguous())  # [tokens, 1, head width / 2]
        self.register_buffer("float32_sin", angles[:, None, :, 1].contiguous())

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attends from one map to one or more.

        queries: [1 or B, N, channels]; keys, values: [B, maps, N, key channels], every map at the queries' positions.
        Returns [B, N, channels].
        """
        q = self._rotated(self._heads(self.q_proj(queries))).transpose(1, 2)  # [1 or B, heads, N, head width]
        k = self._rotated(self._heads(self.k_proj(keys))).flatten(1, 2).transpose(1, 2)  # [B, heads, maps*N, ...]
        v = self._heads(self.v_proj(values)).flatten(1, 2).transpose(1, 2)
        merged: Tensor = self.out_proj(attention(q, k, v).transpose(1, 2).flatten(2))
        return merged

    def _heads(self, x: Tensor) -> Tensor:
        return torch.unflatten(x, -1, (self.heads, -1))

    def _rotated(self, x: Tensor) -> Tensor:
        """[..., N, heads, head width], rotated in float32."""
        first, second = x.float().chunk(2, -1)
        cos, sin = self.float32_cos, self.float32_sin
        return torch.cat((first * cos - second * sin, first * sin + second * cos), -1).to(x.dtype)


def _reordered(linear: Any, order: Tensor) -> nn.Linear:
    reordered = nn.Linear(linear.in_features, linear.out_features)
    reordered.weight = nn.Parameter(linear.weight.detach()[order].clone())
    reordered.bias = nn.Parameter(linear.bias.detach()[order].clone())
    return reordered
