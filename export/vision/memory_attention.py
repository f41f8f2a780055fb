"""memory_attention: the frame's features look back at the memory slots."""

from typing import Any

import torch
from sam2.modeling.memory_attention import MemoryAttention as StockMemoryAttention
from sam2.modeling.position_encoding import PositionEmbeddingSine
from sam2.modeling.sam.transformer import RoPEAttention
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor, nn

from glus_edge.export.vision.layers import with_export_layers
from glus_edge.export.vision.rotary import AxialRotaryAttention
from glus_edge.runtime.errors import CheckpointError

INPUT_POSITION_WEIGHT = 0.1  # of the position encoding added to the features (sam2.modeling.memory_attention)


class MemoryAttention(nn.Module):
    """`forward` is the signature of the graph.

    GLUS gives memories no time encoding and passes no object pointers, so the order of slots does not matter.
    """

    positions: Tensor
    memory_positions: Tensor

    def __init__(self, sam2: SAM2Base) -> None:
        super().__init__()
        stock: StockMemoryAttention = sam2.memory_attention
        self.grid: int = sam2.image_size // 16
        self.layers = nn.ModuleList(_MemoryLayer(layer, self.grid) for layer in stock.layers)
        self.norm = stock.norm
        with_export_layers(self)
        weight = INPUT_POSITION_WEIGHT if stock.pos_enc_at_input else 0.0
        positions = sine_positions(sam2.image_encoder.neck.position_encoding, self.grid)
        if any(layer.pos_enc_at_attn or layer.pos_enc_at_cross_attn_queries for layer in stock.layers):
            raise CheckpointError(
                "SAM 2 configuration: got pos_enc_at_attn or pos_enc_at_cross_attn_queries true, expected false as in "
                "every SAM 2.0 configuration"
            )
        self.register_buffer("positions", weight * positions)  # [N, d_model]
        memory_positions = sine_positions(sam2.memory_encoder.position_encoding, self.grid)
        keyed = all(layer.pos_enc_at_cross_attn_keys for layer in stock.layers)
        self.register_buffer("memory_positions", memory_positions * float(keyed))  # [N, memory channels]

    def forward(self, features_stride_16: Tensor, memory: Tensor) -> Tensor:
        """[1, d_model, h, w] and [slots, B, memory channels, h, w] to conditioned_features [B, d_model, h, w]."""
        # Batch 1 until the first layer's cross-attention: nothing before it depends on the sentence.
        x = features_stride_16.flatten(2).transpose(1, 2) + self.positions
        values = memory.flatten(3).permute(1, 0, 3, 2)  # [B, slots, N, memory channels]
        keys = values + self.memory_positions
        for layer in self.layers:
            x = layer(x, keys, values)
        return self.norm(x).transpose(1, 2).unflatten(2, (self.grid, self.grid))  # type: ignore[no-any-return]


def sine_positions(encoding: PositionEmbeddingSine, grid: int) -> Tensor:
    """SAM 2's sine position encoding of a square map as a constant, [grid * grid, channels], row by row."""
    channels = 2 * encoding.num_pos_feats
    positions: Tensor = encoding(torch.zeros(1, channels, grid, grid))
    return positions[0].flatten(1).T.contiguous()


class _MemoryLayer(nn.Module):
    """sam2.modeling.memory_attention.MemoryAttentionLayer in evaluation mode."""

    def __init__(self, stock: Any, grid: int) -> None:
        super().__init__()
        for part in (stock.self_attn, stock.cross_attn_image):
            if not isinstance(part, RoPEAttention):
                raise CheckpointError(f"SAM 2 configuration: got {type(part).__name__}, expected RoPEAttention")
        self.self_attn = AxialRotaryAttention(stock.self_attn, grid)
        self.cross_attn = AxialRotaryAttention(stock.cross_attn_image, grid)
        self.linear1, self.linear2, self.activation = stock.linear1, stock.linear2, stock.activation
        self.norm1, self.norm2, self.norm3 = stock.norm1, stock.norm2, stock.norm3

    def forward(self, x: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        normed = self.norm1(x)
        own = normed.unsqueeze(1)  # one map
        x = x + self.self_attn(normed, own, own)
        x = x + self.cross_attn(self.norm2(x), keys, values)
        mixed: Tensor = x + self.linear2(self.activation(self.linear1(self.norm3(x))))
        return mixed
