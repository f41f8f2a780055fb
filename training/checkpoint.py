"""The official on-disk format: a checkpoint folder, a CLIP folder and the SAM 2 YAML beside them."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glus_edge.runtime.pixels.normalization import CLIP_MEAN, CLIP_STD
from glus_edge.training.model.network import SAM2_CONFIG, Glus, TowerSizes
from glus_edge.training.model.score_head import ScoreHead
from glus_edge.training.model.tokenizer import NanoTokenizer

TRANSFORMERS_VERSION = "4.31.0"  # the version whose format this is


def official_state(glus: Glus) -> dict[str, Tensor]:
    """The tensors of `pytorch_model.bin`, by their official names."""
    state = {name: tensor.detach().float().contiguous() for name, tensor in glus.state_dict().items()}
    head = glus.sizes.hidden // glus.sizes.heads
    for layer in range(glus.sizes.layers):
        frequency = 1.0 / 10000.0 ** (torch.arange(0, head, 2, dtype=torch.float32) / head)
        state[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = frequency
    return state


def language_config(glus: Glus, tower: TowerSizes, vocabulary: int) -> dict[str, Any]:
    """`config.json` of the checkpoint."""
    sizes = glus.sizes
    return {
        "architectures": ["GLUSForCausalLM"],
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "freeze_mm_mlp_adapter": True,
        "hidden_act": "silu",
        "hidden_size": sizes.hidden,
        "image_aspect_ratio": "square",
        "image_grid_pinpoints": None,
        "initializer_range": 0.02,
        "intermediate_size": sizes.intermediate,
        "mask_threshold": 0.0,
        "max_hole_area": 0.0,
        "max_position_embeddings": 2048,
        "max_sprinkle_area": 0.0,
        "mm_hidden_size": tower.hidden,
        "mm_use_im_patch_token": False,
        "mm_use_im_start_end": True,
        "mm_vision_select_feature": "patch",
        "mm_vision_select_layer": -2,
        "mm_vision_tower": "clip",
        "model_type": "llava",
        "num_attention_heads": sizes.heads,
        "num_hidden_layers": sizes.layers,
        "num_key_value_heads": sizes.heads,
        "out_dim": glus.model.visual_model.hidden_dim,
        "pretrain_mm_mlp_adapter": None,
        "pretraining_tp": 1,
        "rms_norm_eps": sizes.norm_epsilon,
        "rope_scaling": None,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "train_mask_decoder": True,
        "transformers_version": TRANSFORMERS_VERSION,
        "tune_mm_mlp_adapter": False,
        "use_cache": False,
        "use_mm_proj": True,
        "vision_tower": "clip",
        "vocab_size": vocabulary,
    }


def tower_config(tower: TowerSizes) -> dict[str, Any]:
    """`config.json` of the CLIP folder."""
    return {
        "architectures": ["CLIPVisionModel"],
        "attention_dropout": 0.0,
        "hidden_act": "quick_gelu",
        "hidden_size": tower.hidden,
        "image_size": tower.image,
        "initializer_factor": 1.0,
        "initializer_range": 0.02,
        "intermediate_size": tower.intermediate,
        "layer_norm_eps": 1e-05,
        "model_type": "clip_vision_model",
        "num_attention_heads": tower.heads,
        "num_channels": 3,
        "num_hidden_layers": tower.layers,
        "patch_size": tower.patch,
        "projection_dim": tower.hidden // 2,
        "torch_dtype": "float32",
        "transformers_version": TRANSFORMERS_VERSION,
    }


def _preprocessor(tower: TowerSizes) -> dict[str, Any]:
    return {
        "crop_size": {"height": tower.image, "width": tower.image},
        "do_center_crop": True,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": list(CLIP_MEAN),
        "image_std": list(CLIP_STD),
        "image_processor_type": "CLIPImageProcessor",
        "resample": 3,
        "rescale_factor": 1.0 / 255.0,
        "size": {"shortest_edge": tower.image},
    }


def save_official(
    folder: Path, glus: Glus, tower: Any, sizes: TowerSizes, tokenizer: NanoTokenizer, score: ScoreHead
) -> None:
    """Writes folder/checkpoint, folder/clip and folder/sam2.yaml; with [SCORE] if its stage has begun."""
    checkpoint, clip = folder / "checkpoint", folder / "clip"
    checkpoint.mkdir(parents=True, exist_ok=True)
    clip.mkdir(parents=True, exist_ok=True)
    state = official_state(glus)
    if score.trained:
        state, tokenizer = score.official_state(state), NanoTokenizer(tokenizer.model, with_score=True)
    torch.save(state, checkpoint / "pytorch_model.bin")
    _write_json(checkpoint / "config.json", language_config(glus, sizes, tokenizer.vocabulary))
    generation = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    _write_json(checkpoint / "generation_config.json", {"_from_model_config": True, **generation})
    tokenizer.save(checkpoint)
    torch.save({k: v.detach().float() for k, v in tower.state_dict().items()}, clip / "pytorch_model.bin")
    _write_json(clip / "config.json", tower_config(sizes))
    _write_json(clip / "preprocessor_config.json", _preprocessor(sizes))
    shutil.copyfile(SAM2_CONFIG, folder / "sam2.yaml")


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
