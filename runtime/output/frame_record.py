"""What is written of one frame, in result.json, in the lines of `stream` and in the messages of `serve`."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from glus_edge.runtime.loop.result import FrameResult, Scores
from glus_edge.runtime.utils.schema import record_json


def frame_record(index: int, time: float, result: FrameResult) -> dict[str, Any]:
    """Scores, areas and timings of a frame for JSON. `index`: from 0, `time`: seconds, both of the video or stream.

    A box is left, top, width, height in pixels, null for an empty mask. A score that is no finite number is null.
    """
    return {
        "index": index,
        "time_s": round(time, 6),
        "asked": result.asked,
        "sentences": [_sentence(mask, scores) for mask, scores in zip(result.masks, result.scores, strict=True)],
        "timings_ms": {stage: round(float(spent), 3) for stage, spent in result.timings.items()},
    }


def _sentence(mask: NDArray[np.bool_], scores: Scores) -> dict[str, Any]:
    area = int(np.count_nonzero(mask))
    box = list(cv2.boundingRect(mask.view(np.uint8))) if area else None
    return {**record_json(scores), "area_px": area, "box": box}
