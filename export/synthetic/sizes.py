"""Sizes of made-up GLUS models: the released one, its parts in other sizes, and small ones for tests."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch

from glus_edge.export.checkpoint.language_config import LanguageConfig
from glus_edge.export.checkpoint.sam2_config import sam2_config
from glus_edge.export.checkpoint.vision_tower import VisionConfig
from glus_edge.export.vision.dimensions import OFFICIAL_SAM2_SIZES, Sam2Sizes

ADDED_TOKENS = ("[SEG]", "<im_start>", "<im_end>")


@dataclass(frozen=True)
class Sam2Size:
    """A SAM 2 smaller than the official ones, of the same structure."""

    image_size: int  # pixels
    trunk_width: int  # embed_dim of Hiera's first stage; doubles with each of the four
    stages: tuple[int, int, int, int]  # blocks
    global_blocks: tuple[int, ...]  # indices of blocks with global attention
    windows: tuple[int, int, int, int]  # window_spec
    width: int  # d_model
    memory_width: int
    mlp_width: int  # dim_feedforward of memory attention
    layers: int  # of memory attention


@dataclass(frozen=True)
class SyntheticSize:
    """One preset."""

    language: LanguageConfig
    vision: VisionConfig
    sam2: str | Sam2Size  # an official name, or sizes of its own
    dtype: torch.dtype

    def sam2_tree(self) -> dict[str, Any]:
        """The `model` tree of the SAM 2 configuration."""
        if isinstance(self.sam2, str):
            return sam2_config(self.sam2)
        return _sam2_tree(self.sam2)

    def sam2_sizes(self) -> Sam2Sizes:
        """Those of `sam2_tree`, without the sam2 package, where the official configurations lie."""
        if isinstance(self.sam2, str):
            return OFFICIAL_SAM2_SIZES
        return Sam2Sizes(self.sam2.image_size, self.sam2.width, self.sam2.memory_width)


def _language(
    width: int,
    mlp_width: int,
    layers: int,
    heads: int,
    vision: VisionConfig,
    *,
    segment_width: int = 256,
    **changes: int,
) -> LanguageConfig:
    return LanguageConfig(
        hidden_size=width,
        intermediate_size=mlp_width,
        layers=layers,
        heads=heads,
        key_value_heads=changes.get("key_value_heads", heads),
        vocabulary_size=changes.get("vocabulary_size", 32000) + len(ADDED_TOKENS),
        max_positions=changes.get("max_positions", 4096),
        rms_norm_eps=1e-5,
        rope_theta=10000.0,
        vision_width=vision.width,
        segment_width=segment_width,
        vision_tower="clip",
    )


def _sam2_tree(size: Sam2Size) -> dict[str, Any]:
    tree = deepcopy(sam2_config("sam2_hiera_t"))
    widths = [size.trunk_width << stage for stage in range(4)]
    grid = [size.image_size // 16] * 2
    tree["image_size"] = size.image_size
    encoder = tree["image_encoder"]
    encoder["trunk"] |= {
        "embed_dim": size.trunk_width,
        "stages": list(size.stages),
        "global_att_blocks": list(size.global_blocks),
        "window_spec": list(size.windows),
    }
    encoder["neck"] |= {"d_model": size.width, "backbone_channel_list": widths[::-1]}
    encoder["neck"]["position_encoding"]["num_pos_feats"] = size.width
    attention, layer = tree["memory_attention"], tree["memory_attention"]["layer"]
    attention |= {"d_model": size.width, "num_layers": size.layers}
    layer |= {"d_model": size.width, "dim_feedforward": size.mlp_width}
    layer["self_attention"] |= {"embedding_dim": size.width, "feat_sizes": list(grid)}
    layer["cross_attention"] |= {"embedding_dim": size.width, "feat_sizes": list(grid), "kv_in_dim": size.memory_width}
    memory = tree["memory_encoder"]
    memory |= {"out_dim": size.memory_width, "in_dim": size.width}
    memory["position_encoding"]["num_pos_feats"] = size.memory_width
    memory["mask_downsampler"]["embed_dim"] = size.width
    memory["fuser"]["layer"]["dim"] = size.width
    return tree


def _vision(width: int, mlp_width: int, layers: int, heads: int, image_size: int = 224) -> VisionConfig:
    return VisionConfig(width, mlp_width, layers, heads, image_size, 14, 1e-5, "quick_gelu")


_CLIP_TINY = _vision(48, 112, 4, 4, image_size=56)
_CLIP_NANO = _vision(128, 512, 4, 4, image_size=112)
_CLIP_MIDDLE = _vision(512, 2048, 8, 8)
_CLIP_LARGE = _vision(1024, 4096, 24, 16)
_SAM2_TINY = Sam2Size(128, 16, (1, 2, 3, 1), (2, 4), (8, 4, 8, 4), width=64, memory_width=16, mlp_width=128, layers=2)
_SAM2_NANO = Sam2Size(256, 32, (1, 2, 3, 1), (2, 4), (8, 4, 14, 7), width=128, memory_width=32, mlp_width=512, layers=2)
_SAM2_400M = Sam2Size(
    512, 96, (1, 2, 7, 2), (5, 7, 9), (8, 4, 14, 7), width=256, memory_width=64, mlp_width=2048, layers=4
)
_BF16 = torch.bfloat16

_NANO = _language(256, 704, 4, 4, _CLIP_NANO, segment_width=128, vocabulary_size=2000)
_MIDDLE = _language(1024, 2816, 8, 16, _CLIP_MIDDLE)
_400M = _language(1280, 3456, 18, 20, _CLIP_MIDDLE)
_1B = _language(2048, 5632, 22, 32, _CLIP_LARGE, key_value_heads=4)
_3B = _language(3200, 8640, 26, 32, _CLIP_LARGE)
_7B = _language(4096, 11008, 32, 32, _CLIP_LARGE)

SIZES = {
    "tiny": SyntheticSize(
        _language(64, 176, 3, 4, _CLIP_TINY, segment_width=64, vocabulary_size=448, max_positions=2048),
        _CLIP_TINY,
        _SAM2_TINY,
        torch.float32,
    ),
    "nano": SyntheticSize(_NANO, _CLIP_NANO, _SAM2_NANO, _BF16),
    "middle": SyntheticSize(_MIDDLE, _CLIP_MIDDLE, "sam2_hiera_t", _BF16),
    "middle-hiera-s": SyntheticSize(_MIDDLE, _CLIP_MIDDLE, "sam2_hiera_s", _BF16),
    "middle-hiera-b+": SyntheticSize(_MIDDLE, _CLIP_MIDDLE, "sam2_hiera_b+", _BF16),
    "middle-hiera-l": SyntheticSize(_MIDDLE, _CLIP_MIDDLE, "sam2_hiera_l", _BF16),
    # Language model, CLIP and SAM 2 take the shares of the reference's work that they take in the 7B, at a twentieth of it.
    "glus-400m": SyntheticSize(_400M, _CLIP_MIDDLE, _SAM2_400M, _BF16),
    "glus-1b": SyntheticSize(_1B, _CLIP_LARGE, "sam2_hiera_b+", _BF16),
    "glus-3b": SyntheticSize(_3B, _CLIP_LARGE, "sam2_hiera_l", _BF16),
    "glus-7b": SyntheticSize(_7B, _CLIP_LARGE, "sam2_hiera_l", _BF16),
}
