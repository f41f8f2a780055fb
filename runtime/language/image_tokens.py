"""CLIP's image tokens of the frames a prompt may show: computed once per frame, kept while the frame may be asked for."""

from glus_edge.runtime.backends.engine import Engine
from glus_edge.runtime.bundle.signatures import ModelDimensions
from glus_edge.runtime.device.device import Array
from glus_edge.runtime.pixels.tower_inputs import TowerInputs
from glus_edge.runtime.utils.stopwatch import Stopwatch
from glus_edge.runtime.video.frame import Frame


class ImageTokens:
    """A fixed pool of places, one frame's tokens in each; what is not pinned gives way, oldest first."""

    def __init__(
        self, engine: Engine, model: ModelDimensions, pixels: TowerInputs, places: int, stopwatch: Stopwatch
    ) -> None:
        self._engine = engine
        self._source = pixels
        self._stopwatch = stopwatch
        dtype = engine.signature.outputs[0].dtype
        self._pixels = engine.device.empty((1, 3, model.clip_size, model.clip_size), "float32")
        self._tokens = engine.device.empty((places, model.image_tokens, model.language_width), dtype)
        self._frames: list[int | None] = [None] * places  # which frame each place holds
        self._pinned: frozenset[int] = frozenset()
        self._age: list[int] = [0] * places
        self._clock = 0

    def pin(self, frames: frozenset[int]) -> None:
        """From now on these frames' tokens, and only these, are never dropped for a newer frame's."""
        self._pinned = frames

    def add(self, frame: Frame) -> None:
        """Computes the frame's tokens unless they are held; the oldest query frame makes room."""
        self._clock += 1
        if frame.index in self._frames:
            self._age[self._frames.index(frame.index)] = self._clock
            return
        with self._stopwatch.stage("preprocess"):
            self._source.clip(frame, self._pixels)
        free = [place for place, held in enumerate(self._frames) if held not in self._pinned]
        place = min(free, key=lambda candidate: self._age[candidate])
        with self._stopwatch.stage("clip_encoder"):
            self._engine.run({"clip_pixels": self._pixels}, {"image_tokens": self._tokens[place : place + 1]})
        self._frames[place], self._age[place] = frame.index, self._clock

    def tokens(self, index: int) -> Array:
        """Tokens of a frame added before: [image_tokens, language_width]."""
        assert index in self._frames, f"tokens of frame {index} are not held: {self._frames}"
        tokens: Array = self._tokens[self._frames.index(index)]
        return tokens
