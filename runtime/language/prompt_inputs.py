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
from glus_edge.runtime.language.shape_plan import PaddedPrefill


class PromptInputs:
    """Writes embeddings, positions and masks of at most `rows` rows a sentence that see `all_tokens`.

    Where the engine has sizes of its own for new rows, they are padded to these, and it makes the mask itself.
    """

    def __init__(
        self,
        engine: Engine,
        model: ModelDimensions,
        embedding: TokenEmbedding,
        tokens: ImageTokens,
        sentences: int,
        rows: int,
        all_tokens: int,
    ) -> None:
        device, dtype = engine.device, engine.signature.inputs[0].dtype
        sizes = engine.signature.axes["new_tokens"].sizes
        past, new = sentences * rows, sentences * max((rows, *sizes))
        self._device, self._model, self._embedding, self._tokens = device, model, embedding, tokens
        self._embeds = Scratch(device, new * model.language_width, dtype)
        self._positions = Scratch(device, new, "int32")
        self._past_positions = Scratch(device, past, "int32")
        self._mask = Scratch(device, 0 if sizes else new * all_tokens, "float32")

    def engine_inputs(self, prefill: Prefill) -> dict[str, Array]:
        """Every input but the caches; valid until the next call."""
        return {
            "inputs_embeds": self._embed(prefill.rows),
            "positions": self._positions.holding(prefill.positions),
            "past_positions": self._past_positions.holding(prefill.past_positions),
            "attention_mask": self._mask.holding(prefill.attention_mask()),
        }

    def padded_inputs(self, prefill: Prefill, shape: PaddedPrefill) -> dict[str, Array]:
        """Every input but the caches, of a packed graph; valid until the next call."""
        return {
            "inputs_embeds": self._embed(prefill.rows, shape.pad),
            "positions": self._positions.holding(shape.positions),
            "past_positions": self._past_positions.holding(shape.past_positions),
        }

    def _embed(self, rows: NDArray[np.int64], pad: int = 0) -> Array:
        """[sentences, pad + new_tokens, language_width]: text rows gathered on the host, image rows copied on the device.

        In front of them stand `pad` rows of anything.
        """
        per_image = self._model.image_tokens
        embeds = self._embeds.view(rows.shape[0], pad + rows.shape[1], self._model.language_width)
        for sentence, sentence_rows in enumerate(rows):
            image = np.where(sentence_rows < 0, (-sentence_rows - 1) // per_image, -1)
            edges = [0, *(np.flatnonzero(np.diff(image)) + 1).tolist(), len(image)]
            for start, stop in pairwise(edges):
                target = embeds[sentence, pad + start : pad + stop]
                if image[start] < 0:
                    self._device.write(target, self._embedding[sentence_rows[start:stop]])
                else:
                    first = int(-sentence_rows[start] - 1) % per_image
                    self._device.copy(target, self._tokens.tokens(int(image[start]))[first : first + stop - start])
        return embeds
