"""Asks the language model: prompts in, one segment embedding a sentence out. Only rows that are not cached are computed."""

import math
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from glus_edge.runtime.conversation import Rows
from glus_edge.runtime.device import ALIGNMENT, Array
from glus_edge.runtime.engine import Engine
from glus_edge.runtime.frame_tokens import FrameTokens
from glus_edge.runtime.kv_cache import KeyValueCache, Prefill
from glus_edge.runtime.scratch import Scratch
from glus_edge.runtime.signatures import ModelDimensions


class Answer(NamedTuple):
    """What the language model says of one frame."""

    segment_embedding: Array  # [sentences, segment_width] float32 on the device; meaningless where not segmented
    segmented: NDArray[np.bool_]  # [sentences] whether the next token is [SEG]
    new_tokens: int  # rows prefilled for each sentence, padding included


def row_granule(model: ModelDimensions, dtype: np.dtype[Any] | str, sentences: int) -> int:
    """Cached rows from one aligned address to the next: 1 unless the model's heads are very narrow."""
    row_bytes = sentences * model.key_value_heads * model.head_width * np.dtype(dtype).itemsize
    return ALIGNMENT // math.gcd(ALIGNMENT, row_bytes)


class LanguageStep:
    """Owns the keys and values: those of the shared prefix and those of each sentence, each written once, in place."""

    def __init__(
        self,
        engine: Engine,
        model: ModelDimensions,
        embedding: NDArray[Any],
        tokens: FrameTokens,
        segment_token_id: int,
        prefix: int,
        sentences: int,
        capacity: int,
    ) -> None:
        device = engine.device
        dtype = engine.signature.inputs[0].dtype
        head = (model.key_value_heads, model.head_width)
        self._engine, self._model, self._embedding, self._tokens = engine, model, embedding, tokens
        self._segment_token_id = segment_token_id
        self.prefix = prefix  # rows every prompt begins with
        self._cache = KeyValueCache(sentences, prefix, capacity, row_granule(model, dtype, sentences))
        # token-major: a call's new rows lie straight behind the past ones, for any number of sentences; each layer's
        # rows begin at an aligned address. Zeros: a row that no sentence holds is masked, but NaN would show through.
        self._prefix = device.empty((model.language_layers, 2, _up(prefix, row_granule(model, dtype, 1)), *head), dtype)
        self._past = device.zeros(
            (model.language_layers, 2, _up(capacity, self._cache.granule), sentences, *head), dtype
        )
        longest = max(prefix, capacity)
        rows = max(prefix, capacity * sentences)
        self._embeds = Scratch(device, rows * model.language_width, dtype)
        self._positions = Scratch(device, rows, "int32")
        self._past_positions = Scratch(device, rows, "int32")
        self._mask = Scratch(device, rows * (prefix + longest), "float32")
        self._segment_embedding = device.empty((sentences, model.segment_width), "float32")
        self._next_token = device.empty((sentences,), "int32")

    def read_prefix(self, rows: Rows) -> None:
        """Fills the shared prefix, for every sentence and both directions; what was cached behind another is forgotten."""
        count = len(rows)
        assert count == self.prefix, f"got a prefix of {count} rows, expected {self.prefix}"
        prefill = KeyValueCache(1, 0, count).plan([rows])
        head = self._prefix.shape[3:]
        caches, outputs = {}, {}
        for layer, i, kind in self._layers():
            empty = self._prefix[layer, i, :0]
            caches[f"prefix_{kind}_{layer}"] = empty
            caches[f"past_{kind}_{layer}"] = empty.reshape((0, 1, *head))
            outputs[f"new_{kind}_{layer}"] = self._prefix[layer, i, :count].reshape((count, 1, *head))
        self._engine.run(self._inputs(prefill) | caches, outputs)
        self._cache.clear()

    def drop_leading(self, counts: list[int]) -> None:
        """Forgets the first rows of each sentence's own past; the rest stays valid at positions that many lower."""
        self._cache.drop_leading(counts)

    def ask(self, prompts: list[Rows]) -> Answer:
        """One prompt per sentence, each beginning with the shared prefix."""
        prefill = self._cache.plan([prompt[self.prefix :] for prompt in prompts])
        start, stop = prefill.start, prefill.start + prefill.new_tokens
        caches, outputs = {}, {}
        for layer, i, kind in self._layers():
            caches[f"prefix_{kind}_{layer}"] = self._prefix[layer, i, : self.prefix]
            caches[f"past_{kind}_{layer}"] = self._past[layer, i, : prefill.past]
            outputs[f"new_{kind}_{layer}"] = self._past[layer, i, start:stop]
        outputs |= {"segment_embedding": self._segment_embedding, "next_token": self._next_token}
        self._engine.run(self._inputs(prefill) | caches, outputs)
        self._cache.record(prefill)
        next_token = self._engine.device.read(self._next_token)
        return Answer(self._segment_embedding, next_token == self._segment_token_id, prefill.new_tokens)

    def _inputs(self, prefill: Prefill) -> dict[str, Array]:
        return {
            "inputs_embeds": self._embed(prefill.rows),
            "positions": self._positions.holding(prefill.positions),
            "past_positions": self._past_positions.holding(prefill.past_positions),
            "attention_mask": self._mask.holding(prefill.attention_mask),
        }

    def _embed(self, rows: NDArray[np.int64]) -> Array:
        """[sentences, new_tokens, language_width]: text rows gathered on the host, image rows copied on the device."""
        device, per_image = self._engine.device, self._model.image_tokens
        embeds = self._embeds.view(*rows.shape, self._model.language_width)
        for sentence, sentence_rows in enumerate(rows):
            image = np.where(sentence_rows < 0, (-sentence_rows - 1) // per_image, -1)
            edges = [0, *(np.flatnonzero(np.diff(image)) + 1).tolist(), len(image)]
            for start, stop in pairwise(edges):
                target = embeds[sentence, start:stop]
                if image[start] < 0:
                    device.write(target, self._embedding[sentence_rows[start:stop]])
                else:
                    first = int(-sentence_rows[start] - 1) % per_image
                    device.copy(target, self._tokens.tokens(int(image[start]))[first : first + stop - start])
        return embeds

    def _layers(self) -> list[tuple[int, int, str]]:
        return [
            (layer, i, kind) for layer in range(self._model.language_layers) for i, kind in enumerate(("key", "value"))
        ]


def _up(count: int, granule: int) -> int:
    return count + -count % granule
