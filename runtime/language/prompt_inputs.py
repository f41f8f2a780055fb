"""The language model's inputs for one prefill, in buffers allocated once."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from glus_edge.runtime.backends.engine import Engine
from glus_edge.runtime.bundle.signatures import ModelDimensions
from glus_edge.runtime.bundle.token_embedding import TokenEmbedding
from glus_edge.runtime.device.device import Array
from glus_edge.runtime.device.scratch import Scratch
from glus_edge.runtime.language.image_tokens import ImageTokens
from glus_edge.runtime.language.kv_cache import Prefill


class PromptInputs:
    """Writes embeddings, positions and masks of at most `rows` rows (all sentences together) that see `all_tokens`."""

    def __init__(
        self,
        engine: Engine,
        model: ModelDimensions,
        embedding: TokenEmbedding,
        tokens: ImageTokens,
        rows: int,
        all_tokens: int,
    ) -> None:
        device, dtype = engine.device, engine.signature.inputs[0].dtype
        self._device, self._model, self._embedding, self._tokens = device, model, embedding, tokens
        self._embeds = Scratch(device, rows * model.language_width, dtype)
        self._positions = Scratch(device, rows, "int32")
        self._past_positions = Scratch(device, rows, "int32")
        self._mask = Scratch(device, rows * all_tokens, "float32")

    def engine_inputs(self, prefill: Prefill) -> dict[str, Array]:
        """Every input but the caches; valid until the next call."""
        return {
            "inputs_embeds": self._embed(prefill.rows),
            "positions": self._positions.holding(prefill.positions),
            "past_positions": self._past_positions.holding(prefill.past_positions),
            "attention_mask": self._mask.holding(prefill.attention_mask),
        }

    def _embed(self, rows: NDArray[np.int64]) -> Array:
        """[sentences, new_tokens, language_width]: text rows gathered on the host, image rows copied on the device."""
        per_image = self._model.image_tokens
        embeds = self._embeds.view(*rows.shape, self._model.language_width)
        for sentence, sentence_rows in enumerate(rows):
            image = np.where(sentence_rows < 0, (-sentence_rows - 1) // per_image, -1)
            edges = [0, *(np.flatnonzero(np.diff(image)) + 1).tolist(), len(image)]
            for start, stop in pairwise(edges):
                target = embeds[sentence, start:stop]
                if image[start] < 0:
                    self._device.write(target, self._embedding[sentence_rows[start:stop]])
                else:
                    first = int(-sentence_rows[start] - 1) % per_image
                    self._device.copy(target, self._tokens.tokens(int(image[start]))[first : first + stop - start])
        return embeds
