"""Layers of the traced modules: norms and softmax that stay in float32, attention and GELU as engines know them."""

import copy
import math
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

Module = TypeVar("Module", bound=nn.Module)


def attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Softmax attention over [B, heads, tokens, channels]; a batch of 1 is broadcast.

    Exported as MatMul-Softmax-MatMul, the one form that every engine fuses, its softmax in float32. Run eagerly it is
    torch's fused kernel, so that a comparison of the two compares two computations.
    """
    if not torch.compiler.is_exporting():
        return functional.scaled_dot_product_attention(queries, keys, values)
    # The scale goes on the narrow side, before the product: half-precision scores stay in range.
    scores = (queries * (1.0 / math.sqrt(queries.shape[-1]))) @ keys.transpose(-2, -1)
    return scores.float().softmax(-1).to(values.dtype) @ values


class Gelu(nn.Module):
    """Exact GELU. Exported in the order of factors that ONNX Runtime recognises and fuses."""

    def forward(self, x: Tensor) -> Tensor:
        """Same shape and dtype as `x`."""
        if not torch.compiler.is_exporting():
            return functional.gelu(x)
        return x * (torch.erf(x / math.sqrt(2.0)) + 1.0) * 0.5


class Float32LayerNorm(nn.LayerNorm):
    """LayerNorm over the last dimension, computed in float32 whatever comes in; half precision overflows here."""

    def forward(self, x: Tensor) -> Tensor:
        """Same shape and dtype as `x`."""
        return super().forward(x.float()).to(x.dtype)


class Float32LayerNorm2d(nn.Module):
    """LayerNorm over the channels of [B, C, H, W], computed in float32 whatever comes in."""

    def __init__(self, weight: Tensor, bias: Tensor, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(bias)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Same shape and dtype as `x`."""
        channels_last = x.float().permute(0, 2, 3, 1)
        normed = functional.layer_norm(channels_last, self.weight.shape, self.weight, self.bias, self.eps)
        return normed.permute(0, 3, 1, 2).to(x.dtype)


# Modules whose parameters `in_dtype` leaves in float32.
FLOAT32_MODULES = (Float32LayerNorm, Float32LayerNorm2d)


def with_export_layers(module: Module) -> Module:
    """`module` with every norm and GELU inside replaced, in place, by the one above holding the same parameters."""
    from sam2.modeling.sam2_utils import LayerNorm2d  # here: the CLIP encoder uses this file and needs no sam2

    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.LayerNorm) and not isinstance(child, Float32LayerNorm):
                norm = Float32LayerNorm(list(child.normalized_shape), eps=child.eps)
                norm.weight, norm.bias = child.weight, child.bias
                setattr(parent, name, norm)
            elif isinstance(child, LayerNorm2d):
                setattr(parent, name, Float32LayerNorm2d(child.weight.data, child.bias.data, child.eps))
            elif isinstance(child, nn.GELU):
                assert child.approximate == "none"
                setattr(parent, name, Gelu())
    return module


def in_dtype(module: Module, dtype: torch.dtype) -> Module:
    """A copy of `module` computing in `dtype`; norms and buffers named `float32_...` keep float32."""
    converted = copy.deepcopy(module)
    for child in converted.modules():
        if isinstance(child, FLOAT32_MODULES):
            continue
        for parameter in child.parameters(recurse=False):
            parameter.data = parameter.data.to(dtype)
        for name, buffer in child.named_buffers(recurse=False):
            if buffer.is_floating_point() and not name.startswith("float32_"):
                setattr(child, name, buffer.to(dtype))
    return converted


class FusedHeads(nn.Module):
    """SAM 2's plain attention (sam2.modeling.sam.transformer.Attention) with the export form of the product."""

    def __init__(self, stock: Any) -> None:
        super().__init__()
        self.heads: int = stock.num_heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = stock.q_proj, stock.k_proj, stock.v_proj, stock.out_proj

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[B, tokens, channels] of queries, keys and values to [B, query tokens, channels]."""
        out = attention(self._split(self.q_proj(q)), self._split(self.k_proj(k)), self._split(self.v_proj(v)))
        merged: Tensor = self.out_proj(out.transpose(1, 2).flatten(2))
        return merged

    def _split(self, x: Tensor) -> Tensor:
        return torch.unflatten(x, -1, (self.heads, -1)).transpose(1, 2)
