"""The language model in torch, float32, straight from the checkpoint: what an exported graph is compared with.

Weights are read one matrix at a time and dropped after use, so that a model of any size runs in the memory of its
largest matrix; reading them anew for every call is the price.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch.nn import functional

from glus_edge.export.language.weights import LanguageWeights
from glus_edge.runtime.bundle.signatures import ModelDimensions

Observe = Callable[[str, torch.Tensor], None]  # a matrix's name and the rows [B, T, K] it is about to multiply


class LanguageOutputs(NamedTuple):
    """What the language model makes of whole sequences."""

    hidden: torch.Tensor  # [B, T, L] float32, after the final norm
    segment_embedding: torch.Tensor  # [B, segment_width] float32, of each sequence's last row
    next_token: torch.Tensor  # [B] int64, greedy
    frame_score: torch.Tensor | None  # [B] float32, of the last row; None for a model without [SCORE]


class LanguageReference:
    """LLaMA and GLUS's two heads; every sequence starts at position 0."""

    def __init__(
        self, checkpoint: LanguageWeights, dimensions: ModelDimensions, observe: Observe | None = None
    ) -> None:
        """`observe` is shown the inputs of every matrix."""
        self._checkpoint = checkpoint
        self._dimensions = dimensions
        self._observe = observe

    @torch.inference_mode()
    def forward(self, inputs_embeds: torch.Tensor, lengths: Sequence[int] | None = None) -> LanguageOutputs:
        """inputs_embeds [B, T, L]; lengths: real rows of each sequence where shorter ones are filled up at the end,
        which causal attention never looks at. Raises CheckpointError for a tensor that is missing.
        """
        hidden = inputs_embeds.float()
        for layer in range(self._dimensions.language_layers):
            hidden = self.layer(hidden, layer)
        return self.heads(hidden, lengths)

    @torch.inference_mode()
    def layer(self, hidden: torch.Tensor, number: int) -> torch.Tensor:
        """One layer over whole sequences: [B, T, L] float32 to the same."""
        name = f"model.layers.{number}"
        cos, sin = self._rotation(hidden.shape[1])
        rows = self._norm(hidden, f"{name}.input_layernorm")
        hidden = hidden + self._attention(rows, f"{name}.self_attn", cos, sin)
        rows = self._norm(hidden, f"{name}.post_attention_layernorm")
        gate = functional.silu(self._linear(rows, f"{name}.mlp.gate_proj"))
        return hidden + self._linear(gate * self._linear(rows, f"{name}.mlp.up_proj"), f"{name}.mlp.down_proj")

    @torch.inference_mode()
    def heads(self, hidden: torch.Tensor, lengths: Sequence[int] | None = None) -> LanguageOutputs:
        """Final norm and the heads, from what the last layer gives."""
        hidden = self._norm(hidden, "model.norm")
        ends = torch.tensor(lengths or [hidden.shape[1]] * len(hidden)) - 1
        last = hidden[torch.arange(len(hidden)), ends]
        middle = functional.relu(self._linear(last, "model.text_hidden_fcs.0.0", bias=True))
        segment_embedding = self._linear(middle, "model.text_hidden_fcs.0.2", bias=True)
        next_token = self._linear(last, "lm_head").argmax(-1)
        score = self._score(last) if self._dimensions.scores_frames else None
        return LanguageOutputs(hidden, segment_embedding, next_token, score)

    def _score(self, last: torch.Tensor) -> torch.Tensor:
        for step in (0, 2):
            last = functional.relu(self._linear(last, f"model.score_fcs.0.{step}", bias=True))
        return self._linear(last, "model.score_fcs.0.4", bias=True)[:, 0]

    def _attention(self, rows: torch.Tensor, name: str, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        d = self._dimensions
        queries = self._heads(self._linear(rows, f"{name}.q_proj"), d.language_heads)
        keys = self._heads(self._linear(rows, f"{name}.k_proj"), d.key_value_heads)
        values = self._heads(self._linear(rows, f"{name}.v_proj"), d.key_value_heads)
        mixed = functional.scaled_dot_product_attention(
            _rotated(queries, cos, sin), _rotated(keys, cos, sin), values, is_causal=True, enable_gqa=True
        )
        return self._linear(mixed.transpose(1, 2).flatten(2), f"{name}.o_proj")

    def _rotation(self, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
        width = self._dimensions.head_width
        frequencies = 1.0 / (self._checkpoint.config.rope_theta ** (torch.arange(0, width, 2).float() / width))
        angles = torch.arange(rows).float()[:, None] * frequencies
        twice = torch.cat([angles, angles], dim=-1)  # [T, Dh]
        return twice.cos(), twice.sin()

    def _heads(self, rows: torch.Tensor, heads: int) -> torch.Tensor:
        return rows.view(*rows.shape[:2], heads, -1).transpose(1, 2)  # [B, heads, T, Dh]

    def _norm(self, hidden: torch.Tensor, name: str) -> torch.Tensor:
        variance = hidden.square().mean(-1, keepdim=True)
        normal = hidden * torch.rsqrt(variance + self._checkpoint.config.rms_norm_eps)
        return normal * self._checkpoint.tensor(f"{name}.weight").float()

    def _linear(self, rows: torch.Tensor, name: str, bias: bool = False) -> torch.Tensor:
        if self._observe is not None:
            self._observe(f"{name}.weight", rows)
        offset = self._checkpoint.tensor(f"{name}.bias").float() if bias else None
        return functional.linear(rows, self._checkpoint.tensor(f"{name}.weight").float(), offset)


def _rotated(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = heads.chunk(2, dim=-1)
    return heads * cos + torch.cat([-second, first], dim=-1) * sin
