"""Asks the language model: prompts in, one segment embedding a sentence out. Only rows that are not cached are computed."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from glus_edge.runtime.backends.engine import Engine
from glus_edge.runtime.bundle.signatures import ModelDimensions
from glus_edge.runtime.bundle.token_embedding import TokenEmbedding
from glus_edge.runtime.device.device import Array
from glus_edge.runtime.language.conversation import Rows
from glus_edge.runtime.language.image_tokens import ImageTokens
from glus_edge.runtime.language.kv_cache import KeyValueCache
from glus_edge.runtime.language.prompt_inputs import PromptInputs
from glus_edge.runtime.language.shared_prefix import SharedPrefix


class Answer(NamedTuple):
    """What the language model says of one frame."""

    segment_embedding: Array  # [sentences, segment_width] float32 on the device; meaningless where not segmented
    segmented: NDArray[np.bool_]  # [sentences] whether the next token is [SEG]
    new_tokens: int  # rows prefilled for each sentence, padding included


class LanguageModel:
    """Owns the keys and values of a batch of sentences behind the shared prefix, each written once, in place."""

    def __init__(
        self,
        engine: Engine,
        model: ModelDimensions,
        embedding: TokenEmbedding,
        tokens: ImageTokens,
        segment_token_id: int,
        prefix: SharedPrefix,
        sentences: int,
        capacity: int,
    ) -> None:
        device = engine.device
        dtype = engine.signature.inputs[0].dtype
        head = (model.key_value_heads, model.head_width)
        self._engine, self._segment_token_id, self._shared = engine, segment_token_id, prefix
        self._version = prefix.version  # of the prefix the cached rows stand behind
        self._cache = KeyValueCache(sentences, prefix.rows, capacity, prefix.call.granule(sentences))
        # token-major: a call's new rows lie straight behind the past ones, for any number of sentences; each layer's
        # rows begin at an aligned address. Zeros: a row that no sentence holds is masked, but NaN would show through.
        rows = capacity + -capacity % self._cache.granule
        self._past = device.zeros((model.language_layers, 2, rows, sentences, *head), dtype)
        self._inputs = PromptInputs(engine, model, embedding, tokens, sentences, capacity, prefix.rows + capacity)
        self._segment_embedding = device.empty((sentences, model.segment_width), "float32")
        self._next_token = device.empty((sentences,), "int32")

    @property
    def prefix(self) -> int:
        """Rows every prompt begins with."""
        return self._shared.rows

    def drop_leading(self, counts: list[int]) -> None:
        """Forgets the first rows of each sentence's own past; the rest stays valid at positions that many lower."""
        self._cache.drop_leading(counts)

    def ask(self, prompts: list[Rows]) -> Answer:
        """One prompt per sentence, each beginning with the shared prefix."""
        heads = {"segment_embedding": self._segment_embedding, "next_token": self._next_token}
        new_tokens = self._prefill(prompts, heads)
        next_token = self._engine.device.read(self._next_token)
        return Answer(self._segment_embedding, next_token == self._segment_token_id, new_tokens)

    def score(self, prompts: list[Rows]) -> NDArray[np.float32]:
        """What the last row of each prompt says as [SCORE], [sentences]; the model has one."""
        score = self._engine.device.empty((len(prompts),), "float32")
        self._prefill(prompts, {"frame_score": score})
        return np.array(self._engine.device.read(score))

    def copy_from(self, other: "LanguageModel", sentences: tuple[int, ...]) -> None:
        """Takes over the cached rows of these sentences of `other`, which stands behind the same prefix."""
        self._cache.copy_from(other._cache, sentences)
        self._version = other._version
        device, rows = self._engine.device, min(self._past.shape[2], other._past.shape[2])
        for layer in range(self._past.shape[0]):
            for i in range(2):
                held = device.read(other._past[layer, i, :rows])[:, list(sentences)]
                device.write(self._past[layer, i, :rows], held)

    def _prefill(self, prompts: list[Rows], heads: dict[str, Array]) -> int:
        """Computes what is not cached, and `heads` of the last row. Rows computed for each sentence, padding included."""
        if self._version != self._shared.version:
            self._cache.clear()
            self._version = self._shared.version
        prefill = self._cache.plan([prompt[self.prefix :] for prompt in prompts])
        prefix = (self._shared.caches, self.prefix)
        self._shared.call.run(self._inputs, prefill, prefix, self._past, self._past, prefill.start, heads)
        self._cache.record(prefill)
        return prefill.new_tokens
