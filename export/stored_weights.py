"""A checkpoint's weights as a graph holds them: rounded and scaled back, so that only the graph itself is compared."""

import numpy as np
import torch

from glus_edge.export.checkpoint import Checkpoint
from glus_edge.export.quantise import (
    int4_block_size,
    int4_from_weights,
    int8_from_weights,
    int8_scales,
    weights_from_int4,
)

SLICE_ELEMENTS = 16 * 1024 * 1024  # of a matrix worked on at a time


class StoredWeights(Checkpoint):
    """The same checkpoint, its language matrices through the storage `weights` with scales in `compute`."""

    def __init__(self, checkpoint: Checkpoint, weights: str, compute: str) -> None:
        super().__init__(checkpoint.folder, checkpoint.config)
        self._weights = weights
        self._compute = np.dtype(compute)

    def tensor(self, name: str) -> torch.Tensor:
        """As `Checkpoint.tensor`; matrices that a graph stores rounded come as float32."""
        weight = super().tensor(name)
        rounded = name == "lm_head.weight" or (name.startswith("model.layers.") and name.endswith("_proj.weight"))
        if not rounded or self._weights == "fp32":
            return weight
        if self._weights == "fp16":
            return weight.half().float()
        out = torch.empty(weight.shape, dtype=torch.float32)
        scales = int8_scales(weight, self._compute) if self._weights == "int8" else None
        block = int4_block_size(name, weight.shape[1]) if scales is None else 1
        step = max(1, SLICE_ELEMENTS // (weight.shape[0] * block)) * block
        for start in range(0, weight.shape[1], step):
            part = weight[:, start : start + step].float().T.contiguous()  # [K, N] as graphs hold it
            if scales is None:
                restored = weights_from_int4(int4_from_weights(part, block, self._compute), block)
            else:
                restored = (int8_from_weights(part, scales) * scales.astype(np.float32)).astype(np.float32)
            out[:, start : start + step] = torch.from_numpy(restored).T
        return out
