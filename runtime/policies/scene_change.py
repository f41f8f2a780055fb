"""Has the picture changed since a question was asked? Told by colours (SeC)."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from glus_edge.runtime.video.frame import Frame

_SIDE = 128  # pixels; the frame is reduced to this before its colours are counted


@dataclass(frozen=True, eq=False)
class SceneColors:
    """The colours of one frame, to compare others with."""

    histogram: NDArray[np.float32]  # [60, 80] hue and saturation, as one distribution

    @classmethod
    def read(cls, frame: Frame) -> "SceneColors":
        """Those of this frame."""
        small = cv2.resize(frame.rgb, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        counts = cv2.calcHist([cv2.cvtColor(small, cv2.COLOR_RGB2HSV)], [0, 1], None, [60, 80], [0, 180, 0, 256])
        return cls(np.asarray(counts / counts.sum(), np.float32))

    def change(self, frame: Frame) -> float:
        """Bhattacharyya distance to the colours of another frame, 0 to 1."""
        other = SceneColors.read(frame)
        return float(cv2.compareHist(self.histogram, other.histogram, cv2.HISTCMP_BHATTACHARYYA))
