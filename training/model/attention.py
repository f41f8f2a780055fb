"""Attention by plain matrix products, for training on CPUs.

# WAR(torch 2.13): the CPU kernel behind scaled_dot_product_attention is several times slower backwards in bfloat16
# than its own parts are; inference and export are not touched by this.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def plain_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    **_: Any,
) -> Tensor:
    """What scaled_dot_product_attention computes, dropout left out; masks are additive."""
    scores = torch.matmul(query * (scale or query.shape[-1] ** -0.5), key.transpose(-1, -2))
    if is_causal:
        rows = scores.shape[-2:]
        scores = scores + torch.full(rows, -1e4, dtype=scores.dtype).triu(1)
    if attn_mask is not None:
        scores = scores + attn_mask
    return torch.matmul(scores.softmax(-1), value)


@contextmanager
def plain_attention_everywhere() -> Iterator[None]:
    """Within it, every module's scaled_dot_product_attention is `plain_attention`."""
    original = F.scaled_dot_product_attention
    F.scaled_dot_product_attention = plain_attention  # type: ignore[assignment]
    try:
        yield
    finally:
        F.scaled_dot_product_attention = original
