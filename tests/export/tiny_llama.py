"""A LLaMA of transformers with random weights, and the same standing in for a checkpoint."""

from dataclasses import replace
from typing import Any

import torch

from glus_edge.export.checkpoint.language_config import LanguageConfig
from glus_edge.runtime.bundle.signatures import ModelDimensions
from tests.export.language_golden import DIMENSIONS


class Weights:
    """Stands in for a checkpoint: tensors made when asked for."""

    def __init__(self, dimensions: ModelDimensions, intermediate: int, tensors: dict[str, torch.Tensor]) -> None:
        d = dimensions
        self.config = LanguageConfig(
            hidden_size=d.language_width,
            intermediate_size=intermediate,
            layers=d.language_layers,
            heads=d.language_heads,
            key_value_heads=d.key_value_heads,
            vocabulary_size=d.vocabulary_size,
            max_positions=d.max_positions,
            rms_norm_eps=1e-5,
            rope_theta=500.0,
            vision_width=8,
            segment_width=d.segment_width,
            vision_tower="",
        )
        self.tensors = tensors

    def tensor(self, name: str) -> torch.Tensor:
        return self.tensors[name]


def llama(key_value_heads: int) -> tuple[Any, ModelDimensions, Weights]:
    """A LLaMA of transformers with random weights, and the same as a checkpoint."""
    from transformers import LlamaConfig, LlamaModel

    torch.manual_seed(key_value_heads)
    model = LlamaModel(
        LlamaConfig(
            vocab_size=33,
            hidden_size=48,
            intermediate_size=80,
            num_hidden_layers=2,
            num_attention_heads=6,
            num_key_value_heads=key_value_heads,
            rms_norm_eps=1e-5,
            rope_theta=500.0,
            attn_implementation="eager",
        )
    ).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    dimensions = replace(
        DIMENSIONS,
        language_width=48,
        language_layers=2,
        language_heads=6,
        key_value_heads=key_value_heads,
        vocabulary_size=33,
        segment_width=16,
    )
    tensors = {f"model.{name}": value.detach() for name, value in model.state_dict().items()}
    tensors["lm_head.weight"] = torch.randn(33, 48)
    for name, shape in (("0.weight", (48, 48)), ("0.bias", (48,)), ("2.weight", (16, 48)), ("2.bias", (16,))):
        tensors[f"model.text_hidden_fcs.0.{name}"] = torch.randn(shape)
    return model, dimensions, Weights(dimensions, 80, tensors)
