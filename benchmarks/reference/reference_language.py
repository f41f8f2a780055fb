"""The language side of the reference algorithm: transformers' CLIP and LLaMA, everything computed for every frame."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaModel

from glus_edge.export.checkpoint.language_config import LanguageConfig
from glus_edge.export.checkpoint.vision_tower import PREFIX as CLIP_PREFIX
from glus_edge.export.checkpoint.vision_tower import VisionConfig
from glus_edge.export.vision.clip_encoder import POOLED_PATCHES

TensorSource = Callable[[str], Tensor]  # a tensor by its name in the checkpoint, or in CLIP's own files


class Place(NamedTuple):
    """Where and in what the reference computes."""

    device: str = "cpu"
    dtype: torch.dtype = torch.float32

    def of(self, tensor: Tensor) -> Tensor:
        """A floating tensor as the modules take it."""
        return tensor.to(self.device, self.dtype)

    @contextmanager
    def default(self) -> Iterator[None]:
        """Modules made inside are made here."""
        before = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)
        try:
            with torch.device(self.device):
                yield
        finally:
            torch.set_default_dtype(before)


class ReferenceLanguage:
    """CLIP tower, projector, LLaMA and GLUS's head, resident."""

    def __init__(
        self,
        language: LanguageConfig,
        vision: VisionConfig,
        tensor: TensorSource,
        tower_tensor: TensorSource,
        place: Place | None = None,
    ) -> None:
        """Takes every weight from the two sources; their errors."""
        self.place = place or Place()
        vision_settings: Any = CLIPVisionConfig  # transformers' constructors have no types
        with self.place.default():
            self._clip: Any = CLIPVisionModel(
                vision_settings(
                    hidden_size=vision.width,
                    intermediate_size=vision.mlp_width,
                    num_hidden_layers=vision.layers,
                    num_attention_heads=vision.heads,
                    image_size=vision.image_size,
                    patch_size=vision.patch_size,
                    layer_norm_eps=vision.layer_norm_eps,
                    hidden_act=vision.activation,
                )
            )
            self._llama = llama(language)
        fill(self._clip, tower_tensor, missing_prefix(self._clip, CLIP_PREFIX))
        fill(self._llama, tensor, "model.")
        self._weights = {
            name: self.place.of(tensor(name))
            for name in (
                *("model.mm_projector.weight", "model.mm_projector.bias", "lm_head.weight"),
                *(f"model.text_hidden_fcs.0.{place}.{kind}" for place in (0, 2) for kind in ("weight", "bias")),
            )
        }

    def image_tokens(self, pixels: Tensor) -> Tensor:
        """clip_pixels [images, 3, S, S] to [images, tokens, language width]."""
        hidden: Tensor = self._clip(pixels, output_hidden_states=True).hidden_states[-2]
        pooled = torch.unflatten(hidden[:, 1:], 1, (-1, POOLED_PATCHES)).mean(2)
        return self._linear(pooled, "model.mm_projector")

    def token_embeddings(self, ids: Tensor) -> Tensor:
        """[rows, language width]."""
        embeddings: Tensor = self._llama.embed_tokens(ids.to(self.place.device))
        return embeddings

    def ask(self, embeddings: Tensor) -> tuple[Tensor, int]:
        """A whole prompt [rows, language width] to the segment embedding [1, d_model] and the next token."""
        last: Tensor = self._llama(inputs_embeds=embeddings[None]).last_hidden_state[:, -1]
        next_token = functional.linear(last, self._weights["lm_head.weight"]).argmax(-1)
        middle = functional.relu(self._linear(last, "model.text_hidden_fcs.0.0"))
        return self._linear(middle, "model.text_hidden_fcs.0.2"), int(next_token)

    def _linear(self, rows: Tensor, name: str) -> Tensor:
        return functional.linear(rows, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])


def missing_prefix(module: nn.Module, prefix: str) -> str:
    """What turns a module's names into those of its files: transformers 5 has dropped `vision_model.`, which files keep."""
    name, _ = next(module.named_parameters())
    return "" if name.startswith(prefix) else prefix


def fill(module: nn.Module, tensor: TensorSource, prefix: str) -> None:
    """Copies every parameter's values from the tensor of its name behind `prefix`; none is trained any more."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(tensor(prefix + name))
    module.requires_grad_(False).train(False)


def llama(config: LanguageConfig) -> Any:
    """transformers' LlamaModel of these sizes, its weights random, in torch's default type and device."""
    settings: Any = LlamaConfig  # transformers' constructors have no types
    return LlamaModel(
        settings(
            vocab_size=config.vocabulary_size,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.key_value_heads,
            max_position_embeddings=config.max_positions,
            rms_norm_eps=config.rms_norm_eps,
            rope_theta=config.rope_theta,
            use_cache=False,
        )
    )
