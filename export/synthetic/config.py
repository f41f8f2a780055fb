"""The JSON files of a made-up model, as the official code and transformers save them."""

from typing import Any

import torch

from glus_edge.export.checkpoint.language_config import LanguageConfig
from glus_edge.export.checkpoint.vision_tower import VisionConfig
from glus_edge.runtime.pixels.normalization import CLIP_MEAN, CLIP_STD


def language_json(config: LanguageConfig, dtype: torch.dtype) -> dict[str, Any]:
    """config.json of the checkpoint, with the keys the official code saves."""
    return {
        "architectures": ["GLUSForCausalLM"],
        "model_type": "llava",
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.key_value_heads,
        "vocab_size": config.vocabulary_size,
        "max_position_embeddings": config.max_positions,
        "rms_norm_eps": config.rms_norm_eps,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "rope_scaling": None,
        "pretraining_tp": 1,
        "tie_word_embeddings": False,
        "use_cache": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "torch_dtype": str(dtype).removeprefix("torch."),
        "transformers_version": "4.31.0",
        "vision_tower": config.vision_tower,
        "mm_vision_tower": config.vision_tower,
        "mm_hidden_size": config.vision_width,
        "mm_vision_select_layer": -2,
        "mm_vision_select_feature": "patch",
        "mm_use_im_start_end": True,
        "mm_use_im_patch_token": False,
        "use_mm_proj": True,
        "image_aspect_ratio": "square",
        "out_dim": config.segment_width,
        "train_mask_decoder": True,
        "mask_threshold": 0.0,
        "max_hole_area": 0.0,
        "max_sprinkle_area": 0.0,
    }


def vision_json(config: VisionConfig) -> dict[str, Any]:
    """config.json of the CLIP folder."""
    return {
        "architectures": ["CLIPVisionModel"],
        "model_type": "clip_vision_model",
        "hidden_size": config.width,
        "intermediate_size": config.mlp_width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "layer_norm_eps": config.layer_norm_eps,
        "hidden_act": config.activation,
        "num_channels": 3,
        "torch_dtype": "float32",
    }


def preprocessor_json(side: int) -> dict[str, Any]:
    """preprocessor_config.json of the CLIP folder; side of its input in pixels."""
    return {
        "do_resize": True,
        "do_center_crop": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_convert_rgb": True,
        "size": {"shortest_edge": side},
        "crop_size": {"height": side, "width": side},
        "resample": 3,
        "rescale_factor": 1 / 255,
        "image_mean": list(CLIP_MEAN),
        "image_std": list(CLIP_STD),
        "image_processor_type": "CLIPImageProcessor",
    }
