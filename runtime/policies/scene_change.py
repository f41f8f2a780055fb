"""Has the picture changed since a question was asked? Told by colours (SeC)."""

import cv2
import numpy as np
from numpy.typing import NDArray

from glus_edge.runtime.video.frame import Frame

_SIDE = 128  # pixels; the frame is reduced to this before its colours are counted


class SceneChange:
    """The colours of one frame, to compare others with."""

    def __init__(self) -> None:
        self._histogram: NDArray[np.float32] | None = None

    def note(self, frame: Frame) -> None:
        """From now on frames are compared with this one."""
        self._histogram = _histogram(frame)

    def change(self, frame: Frame) -> float:
        """Bhattacharyya distance, 0..1; 0 before any frame was noted."""
        if self._histogram is None:
            return 0.0
        return float(cv2.compareHist(self._histogram, _histogram(frame), cv2.HISTCMP_BHATTACHARYYA))

    def copy(self) -> "SceneChange":
        """A second one with the same colours."""
        other = SceneChange()
        other._histogram = self._histogram
        return other


def _histogram(frame: Frame) -> NDArray[np.float32]:
    """Hue and saturation counts of the frame, 60 x 80 bins, as one distribution."""
    small = cv2.resize(frame.rgb, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    counts = cv2.calcHist([cv2.cvtColor(small, cv2.COLOR_RGB2HSV)], [0, 1], None, [60, 80], [0, 180, 0, 256])
    return np.asarray(counts / counts.sum(), np.float32)
