"""A language model of random weights whose matrices are drawn as an int4 graph stores them: nothing is rounded.

Drawing 7 billion floats and rounding them takes minutes; codes and scales are drawn at the speed of the disk. Activations
stay of order one and [SEG] always wins, as with the float weights of `synthetic_weights`.
"""

import math
import zlib
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from glus_edge.export.checkpoint.language_config import LanguageConfig
from glus_edge.export.checkpoint.tensor_names import language_shapes
from glus_edge.export.language.graph import VOCABULARY_MULTIPLE
from glus_edge.export.language.quantise import INT4_MAXIMUM, Int4Blocks
from glus_edge.export.language.weights import is_language_matrix
from glus_edge.export.synthetic.weights import SEGMENT_GAIN, language_tensor

_CODE_STD = math.sqrt(INT4_MAXIMUM * (INT4_MAXIMUM + 1) / 3)  # of whole numbers from -7 to 7, all as frequent
_SPREAD = 0.25  # scales lie this far around their mean
_SLACK_BYTES = 1 << 20  # of codes beyond those of the largest matrix: where a matrix's codes begin depends on its name


class SyntheticBlocks:
    """See glus_edge.export.language.weights.LanguageWeights; `blocks` is the BlockSource that belongs to it."""

    def __init__(self, config: LanguageConfig, segment_id: int, seed: int = 0) -> None:
        self.config = config
        self._segment_id, self._seed = segment_id, seed
        self._shapes = language_shapes(config)
        padded = -(-config.vocabulary_size // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE
        largest = config.hidden_size * max(config.intermediate_size, padded)
        codes = np.random.default_rng(seed).integers(
            -INT4_MAXIMUM, INT4_MAXIMUM + 1, (2, largest // 2 + _SLACK_BYTES), np.int8
        )
        self._codes: NDArray[np.uint8] = ((codes[0] & 0xF) | (codes[1] << 4)).view(np.uint8)

    def tensor(self, name: str) -> torch.Tensor:
        """Float32 values; of a matrix that `blocks` draws only the shape, on the meta device."""
        shape = self._shapes[name]
        if is_language_matrix(name):
            return torch.empty(shape, device="meta")
        generator = torch.Generator().manual_seed(self._seed_for(name))
        return language_tensor(name, shape, self.config, self._segment_id, generator)

    def blocks(
        self, name: str, weight: torch.Tensor, block: int, dtype: "np.dtype[np.floating]"
    ) -> Iterator[Int4Blocks]:
        """A whole matrix [N, K], its values of standard deviation 1 / sqrt(K)."""
        columns, rows = weight.shape
        count = rows * columns // 2
        start = self._seed_for(name) % (len(self._codes) - count)
        packed = self._codes[start : start + count]
        step = 1 / (math.sqrt(rows) * _CODE_STD)
        writes = name.endswith(("o_proj.weight", "down_proj.weight"))  # to the residual stream
        if writes:
            step /= math.sqrt(2 * self.config.layers)
        random = np.random.default_rng(self._seed_for(name))
        scales = random.uniform(1 - _SPREAD, 1 + _SPREAD, (rows // block, columns)) * step
        if writes or name == "lm_head.weight":
            # Channel 0 of the residual stream is a constant that no layer writes, and [SEG]'s logit reads it alone.
            column = 0 if writes else self._segment_id
            packed = packed.copy()
            byte, shift = packed.reshape(rows, columns // 2)[:, column // 2], column % 2 * 4
            byte &= 0xF0 >> shift
            if not writes:
                byte[0] |= INT4_MAXIMUM << shift
                scales[0, column] = SEGMENT_GAIN / INT4_MAXIMUM
        yield Int4Blocks(packed, scales.astype(dtype))

    def _seed_for(self, name: str) -> int:
        # By name, so that a tensor does not depend on what was made before it.
        return zlib.crc32(f"{self._seed} {name}".encode())
