"""The shared prefix: what every prompt begins with, read by the language model once for all sentences."""

from glus_edge.runtime.backends.engine import Engine
from glus_edge.runtime.bundle.signatures import ModelDimensions
from glus_edge.runtime.bundle.token_embedding import TokenEmbedding
from glus_edge.runtime.language.conversation import Rows
from glus_edge.runtime.language.image_tokens import ImageTokens
from glus_edge.runtime.language.kv_cache import KeyValueCache
from glus_edge.runtime.language.prefill_call import prefill_call
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
        self.call = prefill_call(engine, model)  # of the language model, for all that stand behind this prefix
        granule = self.call.granule(1)
        # [layers, 2, rows, heads, head width]: each layer's rows begin at an aligned address.
        self.caches = engine.device.empty((model.language_layers, 2, rows + -rows % granule, *head), dtype)
        self._nothing = engine.device.empty((model.language_layers, 2, 0, 1, *head), dtype)
        self._inputs = PromptInputs(engine, model, embedding, tokens, 1, rows, rows)

    def read(self, rows: Rows) -> None:
        """Fills the prefix; rows cached behind another one are void from now on."""
        assert len(rows) == self.rows, f"got a prefix of {len(rows)} rows, expected {self.rows}"
        prefill = KeyValueCache(1, 0, self.rows).plan([rows])
        layers, kinds, rows_there, *head = self.caches.shape
        none = self._nothing.reshape((layers, kinds, 0, *head))
        target = self.caches.reshape((layers, kinds, rows_there, 1, *head))
        self.call.run(self._inputs, prefill, (none, 0), self._nothing, target, 0, {})
        self.version += 1
