"""image_encoder: Hiera and its pyramid, one map per stride for the mask decoder and the memory attention."""

from typing import Any, NamedTuple

import torch
from sam2.modeling.backbones.hieradet import MultiScaleAttention, do_pool
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor, nn
from torch.nn import functional

from glus_edge.export.vision.layers import attention, with_export_layers


class FeatureMaps(NamedTuple):
    """Outputs of the graph, in its order."""

    features_stride_4: Tensor  # [1, d_model / 8, S/4, S/4]
    features_stride_8: Tensor  # [1, d_model / 4, S/8, S/8]
    features_stride_16: Tensor  # [1, d_model, S/16, S/16]
    features_without_memory: Tensor  # the same + no_mem_embed


class ImageEncoder(nn.Module):
    """`forward` is the signature of the graph."""

    position_embedding: Tensor
    no_memory: Tensor

    def __init__(self, sam2: SAM2Base) -> None:
        super().__init__()
        encoder = sam2.image_encoder
        self.trunk = encoder.trunk
        self.convs = encoder.neck.convs
        self.top_down_levels: list[int] = encoder.neck.fpn_top_down_levels
        self.interpolation: str = encoder.neck.fpn_interp_model
        self.averaged: bool = encoder.neck.fuse_type == "avg"
        self.conv_s0, self.conv_s1 = sam2.sam_mask_decoder.conv_s0, sam2.sam_mask_decoder.conv_s1
        with torch.no_grad():
            # Folded: the bicubic resize of the background embedding depends on the input's size alone.
            side = sam2.image_size // 4
            self.register_buffer("position_embedding", self.trunk._get_pos_embed((side, side)))
        self.register_buffer("no_memory", sam2.no_mem_embed.detach().reshape(1, -1, 1, 1).clone())
        for block in self.trunk.blocks:
            block.attn = _WindowAttention(block.attn)
        with_export_layers(self)

    def forward(self, sam_pixels: Tensor) -> FeatureMaps:
        """[1, 3, S, S], normalised, to the four maps."""
        maps = self._pyramid(self._trunk(sam_pixels.to(self.position_embedding.dtype)))
        stride_16 = maps[2]
        return FeatureMaps(self.conv_s0(maps[0]), self.conv_s1(maps[1]), stride_16, stride_16 + self.no_memory)

    def _trunk(self, pixels: Tensor) -> list[Tensor]:
        """Output of every stage, fine to coarse, [1, C, h, w]."""
        x = self.trunk.patch_embed(pixels) + self.position_embedding
        outputs = []
        for index, block in enumerate(self.trunk.blocks):
            x = block(x)
            if index in self.trunk.stage_ends:
                outputs.append(x.permute(0, 3, 1, 2))
        return outputs

    def _pyramid(self, stages: list[Tensor]) -> list[Tensor]:
        """sam2.modeling.backbones.image_encoder.FpnNeck without its position encodings; fine to coarse."""
        coarsest = len(stages) - 1
        maps: list[Tensor] = []
        for level in range(coarsest, -1, -1):
            lateral = self.convs[coarsest - level](stages[level])
            if level in self.top_down_levels and maps:
                lateral = lateral + self._doubled(maps[0])
                lateral = lateral / 2 if self.averaged else lateral
            maps.insert(0, lateral)
        return maps

    def _doubled(self, x: Tensor) -> Tensor:
        aligned = None if self.interpolation == "nearest" else False
        return functional.interpolate(x, scale_factor=2.0, mode=self.interpolation, align_corners=aligned)


class _WindowAttention(nn.Module):
    """sam2.modeling.backbones.hieradet.MultiScaleAttention with the export form of the product."""

    def __init__(self, stock: MultiScaleAttention) -> None:
        super().__init__()
        self.heads: int = stock.num_heads
        self.q_pool: Any = stock.q_pool
        self.qkv, self.proj = stock.qkv, stock.proj

    def forward(self, x: Tensor) -> Tensor:
        """[windows, H, W, C] to [windows, H', W', C']; H' and W' are halved where queries are pooled."""
        windows, height, width, _ = x.shape
        q, k, v = self.qkv(x).chunk(3, -1)
        if self.q_pool:
            q = do_pool(q, self.q_pool)
            height, width = q.shape[1:3]
        out = attention(*(part.flatten(1, 2).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (q, k, v)))
        merged: Tensor = self.proj(out.transpose(1, 2).reshape(windows, height, width, -1))
        return merged
