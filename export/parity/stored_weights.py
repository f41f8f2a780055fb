"""A model's weights as a graph holds them: rounded and scaled back, so that only the graph itself is compared."""

from collections.abc import Mapping

import numpy as np
import torch

from glus_edge.export.language.quantise import (
    int4_block_size,
    int4_from_weights,
    int8_from_weights,
    int8_scales,
    weights_from_int4,
)
from glus_edge.export.language.weights import LanguageConstants, LanguageWeights, is_language_matrix

SLICE_ELEMENTS = 16 * 1024 * 1024  # of a matrix worked on at a time


class StoredWeights:
    """The same weights, language matrices through the storage `weights` (or `matrices`' own), scales in `compute`."""

    def __init__(
        self, source: LanguageWeights, weights: str, compute: str, matrices: Mapping[str, str] | None = None
    ) -> None:
        self._source = source
        self._weights = weights
        self._matrices = matrices or {}
        self._compute = np.dtype(compute)

    @property
    def config(self) -> LanguageConstants:
        """See LanguageWeights."""
        return self._source.config

    def tensor(self, name: str) -> torch.Tensor:
        """See LanguageWeights; matrices that a graph stores rounded come as float32."""
        weight = self._source.tensor(name)
        if not is_language_matrix(name):
            return weight
        return rounded(name, weight, self._matrices.get(name, self._weights), self._compute)


def rounded(name: str, weight: torch.Tensor, storage: str, scale_dtype: np.dtype[np.floating]) -> torch.Tensor:
    """A matrix [N, K] as a graph of this storage computes with it; float32 unless the storage is 'fp32'."""
    if storage == "fp32":
        return weight
    if storage == "fp16":
        return weight.half().float()
    out = torch.empty(weight.shape, dtype=torch.float32)
    scales = int8_scales(weight, scale_dtype) if storage == "int8" else None
    block = int4_block_size(name, weight.shape[1]) if scales is None else 1
    step = max(1, SLICE_ELEMENTS // (weight.shape[0] * block)) * block
    for start in range(0, weight.shape[1], step):
        part = weight[:, start : start + step].float().T.contiguous()  # [K, N] as graphs hold it
        if scales is None:
            restored = weights_from_int4(int4_from_weights(part, block, scale_dtype), block)
        else:
            restored = (int8_from_weights(part, scales) * scales.astype(np.float32)).astype(np.float32)
        out[:, start : start + step] = torch.from_numpy(restored).T
    return out
