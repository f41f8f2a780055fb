"""Runs the language model on one prefill: in the shapes it has, or padded to those that its engine was compiled for."""

from typing import Protocol

from glus_edge.runtime.backends.engine import Engine
from glus_edge.runtime.bundle.signatures import ModelDimensions
from glus_edge.runtime.device.device import Array
from glus_edge.runtime.device.scratch import GrowingScratch
from glus_edge.runtime.language.kv_cache import Prefill, row_granule
from glus_edge.runtime.language.prompt_inputs import PromptInputs
from glus_edge.runtime.language.shape_plan import padded


class PrefillCall(Protocol):
    """Caches are [layers, 2, rows, sentences, heads, head width], the prefix without its sentences."""

    def granule(self, sentences: int) -> int:
        """New rows are written at multiples of it."""

    def run(
        self,
        inputs: PromptInputs,
        prefill: Prefill,
        prefix: tuple[Array, int],
        past: Array,
        target: Array,
        start: int,
        heads: dict[str, Array],
    ) -> None:
        """Writes the new rows to `target` from row `start` on, and what the graph says of the last row to `heads`.

        `prefix`: the array, and how many of its rows there are.
        """


def prefill_call(engine: Engine, model: ModelDimensions) -> PrefillCall:
    """What the engine's signature asks for: sizes of its own for new rows, or any."""
    if engine.signature.axes["new_tokens"].sizes:
        return BucketedCall(engine)
    return ExactCall(engine, model)


class ExactCall:
    """Every prefill in its own shapes; new rows are written where they stay."""

    def __init__(self, engine: Engine, model: ModelDimensions) -> None:
        self._engine, self._model = engine, model

    def granule(self, sentences: int) -> int:
        """See PrefillCall: an aligned address."""
        return row_granule(self._model, self._engine.signature.inputs[0].dtype, sentences)

    def run(
        self,
        inputs: PromptInputs,
        prefill: Prefill,
        prefix: tuple[Array, int],
        past: Array,
        target: Array,
        start: int,
        heads: dict[str, Array],
    ) -> None:
        """See PrefillCall."""
        shared, rows = prefix
        caches, outputs = {}, {}
        for layer in range(target.shape[0]):
            for i, kind in enumerate(("key", "value")):
                caches[f"prefix_{kind}_{layer}"] = shared[layer, i, :rows]
                caches[f"past_{kind}_{layer}"] = past[layer, i, : prefill.past]
                outputs[f"new_{kind}_{layer}"] = target[layer, i, start : start + prefill.new_tokens]
        self._engine.run(inputs.engine_inputs(prefill) | caches, outputs | heads)


class BucketedCall:
    """Every prefill padded to one of the engine's sizes, behind the whole past: few shapes, always at the same addresses.

    New rows come out beside the past and are copied into it: an engine's input and output never overlap.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._sizes = engine.signature.axes["new_tokens"].sizes
        self._new = GrowingScratch(engine.device, engine.signature.inputs[0].dtype)

    def granule(self, sentences: int) -> int:
        """See PrefillCall: copies need no alignment."""
        return 1

    def run(
        self,
        inputs: PromptInputs,
        prefill: Prefill,
        prefix: tuple[Array, int],
        past: Array,
        target: Array,
        start: int,
        heads: dict[str, Array],
    ) -> None:
        """See PrefillCall."""
        shared, _ = prefix
        shape = padded(prefill, self._sizes, past.shape[2])
        caches = {"prefix": _packed(shared), "past": _packed(past)}
        into = _packed(target)
        new = self._new.view(into.shape[0], shape.positions.shape[1], *into.shape[2:])
        self._engine.run(inputs.padded_inputs(prefill, shape) | caches, {"new": new} | heads)
        self._engine.device.copy_columns(into, start, new, shape.pad, prefill.new_tokens)


def _packed(caches: Array) -> Array:
    """[layers, 2, ...] as [2 * layers, ...]."""
    array: Array = caches.reshape((2 * caches.shape[0], *caches.shape[2:]))
    return array
