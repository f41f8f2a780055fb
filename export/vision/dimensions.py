"""A model's sizes, as a bundle's manifest states them. Nothing here needs the sam2 package."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from glus_edge.export.checkpoint.language_config import LanguageConfig
from glus_edge.export.checkpoint.vision_tower import VisionConfig
from glus_edge.export.vision.clip_encoder import POOLED_PATCHES
from glus_edge.runtime.bundle.signatures import ModelDimensions


class Sam2Sizes(NamedTuple):
    """What the graphs' sizes need of a SAM 2, by its own names."""

    image_size: int  # pixels
    hidden_dim: int  # d_model
    mem_dim: int  # channels of a memory

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> "Sam2Sizes":
        """Those of a configuration, the `model` tree."""
        return cls(tree["image_size"], tree["image_encoder"]["neck"]["d_model"], tree["memory_encoder"]["out_dim"])


OFFICIAL_SAM2_SIZES = Sam2Sizes(image_size=1024, hidden_dim=256, mem_dim=64)  # of every official SAM 2.0 configuration


def model_dimensions(
    vision: VisionConfig, language: LanguageConfig, sam2: Sam2Sizes, scores_frames: bool = False
) -> ModelDimensions:
    """A model's sizes, from those of its parts."""
    return ModelDimensions(
        clip_size=vision.image_size,
        image_tokens=vision.patches // POOLED_PATCHES,
        language_width=language.hidden_size,
        language_layers=language.layers,
        language_heads=language.heads,
        key_value_heads=language.key_value_heads,
        vocabulary_size=language.vocabulary_size,
        max_positions=language.max_positions,
        image_size=sam2.image_size,
        segment_width=sam2.hidden_dim,
        memory_width=sam2.mem_dim,
        stride_4_width=sam2.hidden_dim // 8,
        stride_8_width=sam2.hidden_dim // 4,
        scores_frames=scores_frames,
    )
