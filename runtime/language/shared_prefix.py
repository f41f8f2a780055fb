"""The shared prefix: what every prompt begins with, read by the language model once for all sentences."""

from glus_edge.runtime.backends.engine import Engine
from glus_edge.runtime.bundle.signatures import ModelDimensions
from glus_edge.runtime.bundle.token_embedding import TokenEmbedding
from glus_edge.runtime.device.device import Array
from glus_edge.runtime.language.conversation import Rows
from glus_edge.runtime.language.image_tokens import ImageTokens
from glus_edge.runtime.language.kv_cache import KeyValueCache, row_granule
from glus_edge.runtime.language.prompt_inputs import PromptInputs


class SharedPrefix:
    """Owns the prefix's keys and values; `version` changes whenever they do."""

    def __init__(
        self, engine: Engine, model: ModelDimensions, embedding: TokenEmbedding, tokens: ImageTokens, rows: int
    ) -> None:
        self.rows = rows
        self.version = 0
        dtype = engine.signature.inputs[0].dtype
        head = (model.key_value_heads, model.head_width)
        granule = row_granule(model, dtype, 1)
        # Each layer's rows begin at an aligned address.
        self._arrays = engine.device.empty((model.language_layers, 2, rows + -rows % granule, *head), dtype)
        self._engine, self._layers, self._head = engine, model.language_layers, head
        self._inputs = PromptInputs(engine, model, embedding, tokens, rows, rows)

    def keys_or_values(self, layer: int, kind: int) -> Array:
        """Keys (0) or values (1) of a layer, [rows, heads, head width]."""
        array: Array = self._arrays[layer, kind, : self.rows]
        return array

    def read(self, rows: Rows) -> None:
        """Fills the prefix; rows cached behind another one are void from now on."""
        assert len(rows) == self.rows, f"got a prefix of {len(rows)} rows, expected {self.rows}"
        prefill = KeyValueCache(1, 0, self.rows).plan([rows])
        caches, outputs = {}, {}
        for layer in range(self._layers):
            for i, kind in enumerate(("key", "value")):
                empty = self._arrays[layer, i, :0]
                caches[f"prefix_{kind}_{layer}"] = empty
                caches[f"past_{kind}_{layer}"] = empty.reshape((0, 1, *self._head))
                outputs[f"new_{kind}_{layer}"] = self.keys_or_values(layer, i).reshape((self.rows, 1, *self._head))
        self._engine.run(self._inputs.engine_inputs(prefill) | caches, outputs)
        self.version += 1
