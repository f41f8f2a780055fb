"""SAM 2's part: segment embeddings in, mask logits out, a memory of each frame kept for the next ones."""

import math
from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from glus_edge.runtime.backends.engine import Engine
from glus_edge.runtime.bundle.signatures import ModelDimensions
from glus_edge.runtime.device.device import Array
from glus_edge.runtime.device.scratch import Scratch
from glus_edge.runtime.policies.memory_rule import MemoryRecord
from glus_edge.runtime.policies.needs import Needs
from glus_edge.runtime.tracking.image_features import ImageFeatures
from glus_edge.runtime.tracking.memory_bank import MemoryBank, MemoryGroup
from glus_edge.runtime.utils.stopwatch import Stopwatch


class SamEngines(NamedTuple):
    """The four SAM 2 graphs, all on one device."""

    image_encoder: Engine
    memory_attention: Engine
    mask_decoder: Engine
    memory_encoder: Engine


class TrackedMasks(NamedTuple):
    """The decoder's answer for one frame, on the host, valid until the next frame."""

    mask_logits: NDArray[np.float32]  # [sentences, 1, S/4, S/4], the chosen mask
    predicted_iou: NDArray[np.float32]  # [sentences]
    object_score: NDArray[np.float32]  # [sentences] logits
    selected_mask: NDArray[np.int32]  # [sentences] 0: the single mask; 1..3: chosen by the stability rule
    all_mask_logits: NDArray[np.float32] | None = None  # [sentences, 4, S/4, S/4] where the memory rule looks at them


class MaskTracker:
    """The masks and memories of a batch of sentences. The memory slots are written in place and never grow."""

    def __init__(
        self,
        engines: SamEngines,
        model: ModelDimensions,
        bank: MemoryBank,
        features: ImageFeatures,
        stopwatch: Stopwatch,
    ) -> None:
        """`bank` says which memory lies where; a new tracker holds none."""
        self._engines, self._model, self._features = engines, model, features
        self._bank, self._sentences, self._stopwatch = bank, bank.sentences, stopwatch
        self._device = engines.memory_encoder.device
        dtype = engines.memory_encoder.signature.outputs[0].dtype
        self._slot = (model.memory_width, model.grid, model.grid)
        self._memory = self._device.empty((bank.slots, bank.sentences, *self._slot), dtype)
        self._conditioned = self._device.empty((bank.sentences, model.segment_width, model.grid, model.grid), dtype)
        self._outputs: dict[str, Array] = {
            "mask_logits": self._device.empty((bank.sentences, 1, model.mask_side, model.mask_side), "float32"),
            "predicted_iou": self._device.empty((bank.sentences,), "float32"),
            "object_score": self._device.empty((bank.sentences,), "float32"),
            "selected_mask": self._device.empty((bank.sentences,), "int32"),
        }
        if Needs.ALTERNATIVE_MASKS in bank.needs:
            shape = (bank.sentences, 4, model.mask_side, model.mask_side)
            self._outputs["all_mask_logits"] = self._device.empty(shape, "float32")

    def select(self, sentences: tuple[int, ...]) -> "MaskTracker":
        """A second tracker, of these sentences alone, with a copy of their memories."""
        other = MaskTracker(self._engines, self._model, self._bank.select(sentences), self._features, self._stopwatch)
        for column, sentence in enumerate(sentences):
            for slot in range(len(self._bank.held(sentence))):
                self._device.copy(other._memory[slot, column], self._memory[slot, sentence])
        return other

    def condition(self) -> None:
        """Lets the features of this frame attend to the memories that are held."""
        with self._stopwatch.stage("memory_attention"):
            for group in self._bank.groups():
                self._condition(group)

    def decode(self, segment_embedding: Array) -> TrackedMasks:
        """Masks of the frame that was conditioned, for embeddings [sentences, segment_width] float32 on the device."""
        with self._stopwatch.stage("mask_decoder"):
            self._decode(self._conditioned, segment_embedding, self._outputs)
            # Read before the memory is made: a concurrent device makes it while the host turns logits into masks.
            return TrackedMasks(**{name: self._device.read(output) for name, output in self._outputs.items()})

    def decode_without_memory(self, segment_embedding: Array) -> NDArray[np.float32]:
        """Mask logits [sentences, 1, S/4, S/4] as if this frame were a run's first; what `decode` gave stays valid."""
        with self._stopwatch.stage("mask_decoder"):
            features, logits = self._alone
            for row in range(self._sentences):
                self._device.copy(features[row : row + 1], self._features.maps["features_without_memory"])
            self._decode(features, segment_embedding, {"mask_logits": logits})
            return self._device.read(logits)

    def remember(self, step: int, memories: Mapping[int, MemoryRecord]) -> None:
        """Ends a step: writes the memory of the masks decoded last for the sentences that have one."""
        with self._stopwatch.stage("memory_encoder"):
            placement = self._bank.store(step, memories)
            for move in placement.moves:
                source, target = (self._memory[slot, move.sentence] for slot in (move.source, move.target))
                self._device.copy(target, source)
            slots = placement.slots
            if not slots:
                return
            # Normally all sentences write to the same slot: the encoder writes there.
            same = len(slots) == self._sentences and len(set(slots.values())) == 1
            written = self._memory[slots[0]] if same else self._gathered_memory.view(self._sentences, *self._slot)
            self._engines.memory_encoder.run(
                {"conditioned_features": self._conditioned, "mask_logits": self._outputs["mask_logits"]},
                {"memory_slot": written},
            )
            if not same:
                for row, slot in slots.items():
                    self._device.copy(self._memory[slot, row], written[row])

    def forget(self, sentence: int) -> None:
        """Empties a sentence's memory."""
        self._bank.forget(sentence)

    def _decode(self, conditioned: Array, segment_embedding: Array, outputs: Mapping[str, Array]) -> None:
        maps = self._features.maps
        self._engines.mask_decoder.run(
            {
                "conditioned_features": conditioned,
                "features_stride_8": maps["features_stride_8"],
                "features_stride_4": maps["features_stride_4"],
                "segment_embedding": segment_embedding,
            },
            outputs,
        )

    def _condition(self, group: MemoryGroup) -> None:
        """The group's rows of the conditioned features: what the decoder and the memory encoder read."""
        rows, count = group.sentences, group.count
        if not count:
            for row in rows:
                self._device.copy(self._conditioned[row : row + 1], self._features.maps["features_without_memory"])
            return
        # Normally every sentence reads as many slots, which lie in one block: no copy. Others are gathered.
        if len(rows) == self._sentences:
            self._attend(self._memory[:count], self._conditioned)
            return
        memory = self._gathered_memory.view(count, len(rows), *self._slot)
        for slot in range(count):
            for column, row in enumerate(rows):
                self._device.copy(memory[slot, column], self._memory[slot, row])
        conditioned = self._gathered_features.view(len(rows), *self._conditioned.shape[1:])
        self._attend(memory, conditioned)
        for column, row in enumerate(rows):
            self._device.copy(self._conditioned[row], conditioned[column])

    def _attend(self, memory: Array, conditioned: Array) -> None:
        self._engines.memory_attention.run(
            {"features_stride_16": self._features.maps["features_stride_16"], "memory": memory},
            {"conditioned_features": conditioned},
        )

    # What most runs never need is allocated once, when it is first needed.

    @cached_property
    def _gathered_memory(self) -> Scratch:
        return Scratch(self._device, math.prod(self._memory.shape), self._memory.dtype)

    @cached_property
    def _gathered_features(self) -> Scratch:
        return Scratch(self._device, math.prod(self._conditioned.shape), self._conditioned.dtype)

    @cached_property
    def _alone(self) -> tuple[Array, Array]:
        features = self._device.empty(self._conditioned.shape, self._conditioned.dtype)
        return features, self._device.empty(self._outputs["mask_logits"].shape, "float32")
