"""What tests of a calibration ask for."""

from pathlib import Path

import numpy as np

from glus_edge.calibration.settings import CalibrationSettings
from glus_edge.runtime.segmenter import Segmenter
from tests.runtime.golden import FRAMES, sentence


def settings(bundle: Path, videos: Path, output: Path, **changes: object) -> CalibrationSettings:
    few = {"count": 2, "frames": 3, "sentences": 1, "images": 2, "prompts": 2, "rank": "tensors"}
    return CalibrationSettings(bundle, str(videos), output, **(few | changes))  # type: ignore[arg-type]


def masks(bundle: Path) -> np.ndarray:
    with Segmenter.open(bundle) as segmenter:
        results = iter(segmenter.segment(FRAMES, [sentence("exp0")]))
        return np.stack([next(results).masks for _ in range(3)])
