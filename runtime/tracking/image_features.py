"""What SAM 2's image encoder sees in a frame: computed once per frame for all sentences."""

from glus_edge.runtime.backends.engine import Engine
from glus_edge.runtime.bundle.signatures import ModelDimensions
from glus_edge.runtime.device.device import Array
from glus_edge.runtime.pixels.tower_inputs import TowerInputs
from glus_edge.runtime.utils.stopwatch import Stopwatch
from glus_edge.runtime.video.frame import Frame


class ImageFeatures:
    """The image encoder and its outputs."""

    def __init__(self, engine: Engine, model: ModelDimensions, pixels: TowerInputs, stopwatch: Stopwatch) -> None:
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
