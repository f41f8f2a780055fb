"""A language model's tensors drawn at random, each by its name."""

import zlib

import torch

from glus_edge.export.checkpoint.language_config import LanguageConfig
from glus_edge.export.checkpoint.tensor_names import language_shapes
from glus_edge.export.synthetic.weights import language_tensor


class RandomWeights:
    """See glus_edge.export.language.language_weights.LanguageWeights. Activations stay of order one and [SEG] always wins.

    For int4 graphs `SyntheticBlocks` is faster: it draws what the graph stores.
    """

    def __init__(self, config: LanguageConfig, segment_id: int) -> None:
        self.config = config
        self._segment_id = segment_id
        self._shapes = language_shapes(config)

    def tensor(self, name: str) -> torch.Tensor:
        """Float32; the same in every process."""
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        return language_tensor(name, self._shapes[name], self.config, self._segment_id, generator)
