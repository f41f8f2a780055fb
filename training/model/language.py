"""LLaMA as GLUS uses it, thin enough to train with shared prefixes: keys and values come in from outside.

The maths is that of transformers' LlamaModel: RMSNorm, SwiGLU, rotate-half RoPE of base 10000, no biases.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class LanguageSizes:
    """Sizes of the language model."""

    vocabulary: int
    hidden: int = 256
    intermediate: int = 512
    layers: int = 4
    heads: int = 4
    norm_epsilon: float = 1e-6


KeyValue = tuple[Tensor, Tensor]  # keys (rotated) and values of one layer, [N, heads, rows, head dim] each


class RMSNorm(nn.Module):
    """x / rms(x) * weight, the statistics in float32."""

    def __init__(self, size: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """[..., size] -> the same."""
        return F.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), self.epsilon)


class RotaryAttention(nn.Module):
    """Multi-head attention with RoPE over past and new rows."""

    def __init__(self, sizes: LanguageSizes) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (
            nn.Linear(sizes.hidden, sizes.hidden, bias=False) for _ in range(4)
        )

    def forward(
        self, x: Tensor, rotation: tuple[Tensor, Tensor], mask: Tensor | None, past: KeyValue | None
    ) -> tuple[Tensor, KeyValue]:
        """Attended rows [N, rows, hidden], and the new rows' keys and values."""
        n, rows, width = x.shape
        q, k, v = (
            project(x).view(n, rows, self.heads, width // self.heads).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = rotate(q, rotation), rotate(k, rotation)
        own = (k, v)
        if past is not None:
            k, v = torch.cat((past[0], k), 2), torch.cat((past[1], v), 2)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        return self.o_proj(out.transpose(1, 2).reshape(n, rows, width)), own


class GatedMlp(nn.Module):
    """SwiGLU."""

    def __init__(self, sizes: LanguageSizes) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(sizes.hidden, sizes.intermediate, bias=False)
        self.up_proj = nn.Linear(sizes.hidden, sizes.intermediate, bias=False)
        self.down_proj = nn.Linear(sizes.intermediate, sizes.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., hidden] -> the same."""
        gated: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return gated


class Layer(nn.Module):
    """One decoder layer."""

    def __init__(self, sizes: LanguageSizes) -> None:
        super().__init__()
        self.self_attn = RotaryAttention(sizes)
        self.mlp = GatedMlp(sizes)
        self.input_layernorm = RMSNorm(sizes.hidden, sizes.norm_epsilon)
        self.post_attention_layernorm = RMSNorm(sizes.hidden, sizes.norm_epsilon)

    def forward(
        self, x: Tensor, rotation: tuple[Tensor, Tensor], mask: Tensor | None, past: KeyValue | None
    ) -> tuple[Tensor, KeyValue]:
        """The rows after the layer, and their keys and values."""
        attended, own = self.self_attn(self.input_layernorm(x), rotation, mask, past)
        x = x + attended
        return x + self.mlp(self.post_attention_layernorm(x)), own


def rotation_from_positions(positions: Tensor, head_size: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines of RoPE for positions [N or 1, rows] -> [N or 1, 1, rows, head size] each."""
    frequency = 1.0 / 10000.0 ** (torch.arange(0, head_size, 2, dtype=torch.float32) / head_size)
    angle = positions.float()[..., None] * frequency.to(positions.device)
    angle = torch.cat((angle, angle), -1)[:, None]
    return angle.cos().to(dtype), angle.sin().to(dtype)


def rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """RoPE of [N, heads, rows, head size]: the rotate-half form."""
    first, second = x.chunk(2, -1)
    return x * rotation[0] + torch.cat((-second, first), -1) * rotation[1]
