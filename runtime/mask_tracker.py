"""SAM 2's part: segment embeddings in, mask logits out, a memory of each frame kept for the next ones."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from glus_edge.runtime.device import Array
from glus_edge.runtime.engine import Engine
from glus_edge.runtime.frame import Frame
from glus_edge.runtime.manifest import MemorySettings
from glus_edge.runtime.memory_bank import MemoryBank, MemoryGroup
from glus_edge.runtime.pixels import Pixels
from glus_edge.runtime.signatures import ModelDimensions
from glus_edge.runtime.stopwatch import Stopwatch


class SamEngines(NamedTuple):
    """The four SAM 2 graphs, all on one device."""

    image_encoder: Engine
    memory_attention: Engine
    mask_decoder: Engine
    memory_encoder: Engine


class Tracked(NamedTuple):
    """The decoder's answer for one frame, on the host, valid until the next frame."""

    mask_logits: NDArray[np.float32]  # [sentences, 1, S/4, S/4], the chosen mask
    predicted_iou: NDArray[np.float32]  # [sentences]
    object_score: NDArray[np.float32]  # [sentences] logits
    selected_mask: NDArray[np.int32]  # [sentences] 0: the single mask; 1..3: chosen by the stability rule


class ImageFeatures:
    """The image encoder and its outputs: computed once per frame for all sentences."""

    def __init__(self, engine: Engine, model: ModelDimensions, pixels: Pixels, stopwatch: Stopwatch) -> None:
        self._engine, self._source, self._stopwatch = engine, pixels, stopwatch
        self._pixels = engine.device.empty((1, 3, model.image_size, model.image_size), "float32")
        self.maps: dict[str, Array] = {
            tensor.name: engine.device.empty(tuple(int(size) for size in tensor.shape), tensor.dtype)
            for tensor in engine.signature.outputs
        }
        self._frame: Frame | None = None  # whose features `maps` holds, or will

    def begin(self, frame: Frame) -> None:
        """Starts on a frame early where that costs no time: beside the language model, on a device that can."""
        if self._engine.device.concurrent:
            self.encode(frame)

    def encode(self, frame: Frame) -> None:
        """Fills `maps` (features_stride_4, _8, _16, features_without_memory) for this frame."""
        if frame is self._frame:
            return
        with self._stopwatch.stage("preprocess"):
            self._source.sam(frame, self._pixels)
        with self._stopwatch.stage("image_encoder"):
            self._engine.run({"sam_pixels": self._pixels}, self.maps)
        self._frame = frame


class MaskTracker:
    """One direction of one run: owns the memory slots, which are written in place and never grow."""

    def __init__(
        self,
        engines: SamEngines,
        model: ModelDimensions,
        settings: MemorySettings,
        features: ImageFeatures,
        sentences: int,
        stopwatch: Stopwatch,
    ) -> None:
        self._engines, self._model, self._features = engines, model, features
        self._sentences, self._stopwatch = sentences, stopwatch
        self._device = engines.memory_encoder.device
        self._bank = MemoryBank(sentences, settings)
        dtype = engines.memory_encoder.signature.outputs[0].dtype
        slot = (model.memory_width, model.grid, model.grid)
        self._memory = self._device.empty((settings.slots, sentences, *slot), dtype)
        self._conditioned = self._device.empty((sentences, model.segment_width, model.grid, model.grid), dtype)
        self._outputs: dict[str, Array] = {
            "mask_logits": self._device.empty((sentences, 1, model.mask_side, model.mask_side), "float32"),
            "predicted_iou": self._device.empty((sentences,), "float32"),
            "object_score": self._device.empty((sentences,), "float32"),
            "selected_mask": self._device.empty((sentences,), "int32"),
        }

    def condition(self, step: int) -> None:
        """Lets the features of this frame attend to the memories `step` reads."""
        with self._stopwatch.stage("memory_attention"):
            for group in self._bank.groups(step):
                self._condition(group)

    def decode(self, segment_embedding: Array) -> Tracked:
        """Masks of the frame that was conditioned, for embeddings [sentences, segment_width] float32 on the device."""
        maps = self._features.maps
        with self._stopwatch.stage("mask_decoder"):
            self._engines.mask_decoder.run(
                {
                    "conditioned_features": self._conditioned,
                    "features_stride_8": maps["features_stride_8"],
                    "features_stride_4": maps["features_stride_4"],
                    "segment_embedding": segment_embedding,
                },
                self._outputs,
            )
            # Read before the memory is made: a concurrent device makes it while the host turns logits into masks.
            return Tracked(**{name: self._device.read(self._outputs[name]) for name in Tracked._fields})

    def remember(self, step: int, sentences: frozenset[int]) -> None:
        """Writes the memory of the masks decoded last, which counts for `sentences` only."""
        with self._stopwatch.stage("memory_encoder"):
            slot = self._bank.store(step, sentences)
            self._engines.memory_encoder.run(
                {"conditioned_features": self._conditioned, "mask_logits": self._outputs["mask_logits"]},
                {"memory_slot": self._memory[slot]},
            )

    def copy_to(self, other: "MaskTracker") -> None:
        """Gives the other direction of a run the memories so far: those of the key frame."""
        self._device.copy(other._memory, self._memory)
        other._bank = self._bank.copy()

    def _condition(self, group: MemoryGroup) -> None:
        """The group's rows of the conditioned features: what the decoder and the memory encoder read."""
        rows, count = group.sentences, len(group.slots)
        if not count:
            for row in rows:
                self._device.copy(self._conditioned[row : row + 1], self._features.maps["features_without_memory"])
            return
        # Normally every sentence reads slots 0 .. count-1, which lie in one block: no copy. After a frame without [SEG]
        # a sentence's slots differ, and are gathered.
        if len(rows) == self._sentences and sorted(group.slots) == list(range(count)):
            self._attend(self._memory[:count], self._conditioned)
            return
        slot = self._memory.shape[2:]
        memory = self._device.empty((count, len(rows), *slot), self._memory.dtype)
        for place, source in enumerate(group.slots):
            for column, row in enumerate(rows):
                self._device.copy(memory[place, column], self._memory[source, row])
        conditioned = self._device.empty((len(rows), *self._conditioned.shape[1:]), self._conditioned.dtype)
        self._attend(memory, conditioned)
        for column, row in enumerate(rows):
            self._device.copy(self._conditioned[row], conditioned[column])

    def _attend(self, memory: Array, conditioned: Array) -> None:
        self._engines.memory_attention.run(
            {"features_stride_16": self._features.maps["features_stride_16"], "memory": memory},
            {"conditioned_features": conditioned},
        )
