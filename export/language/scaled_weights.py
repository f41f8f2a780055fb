"""Scales folded into a LLaMA's weights: matrices grow where rounding must be fine, what feeds them shrinks; nothing else
changes (AWQ, Lin et al., MLSys 2024).

Rows x of a group's inputs are divided by s, the columns of its matrices multiplied by it. The division costs nothing: it
is folded into what makes the rows, a norm's weight or the rows of the matrix before.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import torch

from glus_edge.export.language.weights import LanguageConstants, LanguageWeights


class ScaledGroup(NamedTuple):
    """Matrices of one layer that read the same rows. Names stand behind 'model.layers.N.'."""

    name: str
    matrices: tuple[str, ...]
    producer: str  # the tensor whose outputs the rows are


GROUPS = (
    ScaledGroup(
        "self_attn.input",
        ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"),
        "input_layernorm.weight",
    ),
    ScaledGroup("self_attn.output", ("self_attn.o_proj.weight",), "self_attn.v_proj.weight"),
    ScaledGroup("mlp.input", ("mlp.gate_proj.weight", "mlp.up_proj.weight"), "post_attention_layernorm.weight"),
    ScaledGroup("mlp.output", ("mlp.down_proj.weight",), "mlp.up_proj.weight"),
)
_LAYER = re.compile(r"(model\.layers\.\d+\.)(.+)")


def useful_scales(
    scales: Mapping[str, torch.Tensor], storages: Mapping[str, str], storage: str = "int4"
) -> dict[str, torch.Tensor]:
    """Scales of the groups that hold a matrix of this storage: for others they were not searched."""
    return {
        name: scale
        for name, scale in scales.items()
        for group in GROUPS
        if name.endswith(f".{group.name}")
        and any(storages.get(name.removesuffix(group.name) + matrix) == storage for matrix in group.matrices)
    }


class ScaledWeights:
    """See LanguageWeights: the same model, its groups' scales folded in. A group without an entry is left alone."""

    def __init__(self, source: LanguageWeights, scales: Mapping[str, torch.Tensor]) -> None:
        """scales: 'model.layers.N.GROUP' to [input channels] float32, above zero."""
        self._source = source
        self._scales = scales

    @property
    def config(self) -> LanguageConstants:
        """See LanguageWeights."""
        return self._source.config

    def tensor(self, name: str) -> torch.Tensor:
        """See LanguageWeights; float32 where something is folded in."""
        tensor = self._source.tensor(name)
        if (match := _LAYER.fullmatch(name)) is None:
            return tensor
        layer, rest = match.groups()
        for group in GROUPS:
            scale = self._scales.get(layer + group.name)
            if scale is None:
                continue
            if rest in group.matrices:
                tensor = tensor.float() * scale
            if rest == group.producer:
                tensor = tensor.float() / (scale if tensor.dim() == 1 else scale[:, None])
        return tensor
