"""What the segmenter gives for one frame."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Scores:
    """What the model says of one sentence's mask on one frame."""

    predicted_iou: float | None  # the mask decoder's own guess of the chosen mask's IoU, 0..1; None without a mask
    object_score: float | None  # logit that the object is in the frame; GLUS never acts on it; None without a mask
    segmented: bool  # False: the language model did not answer [SEG], and the mask is empty for that reason
    selected_mask: int | None  # 0: the decoder's single mask; 1..3: chosen by the stability rule; None without a mask
    visible: bool = True  # False: a rule for lost objects emptied the mask


@dataclass(frozen=True, eq=False)
class FrameResult:
    """The masks of one frame, one per sentence."""

    index: int  # position of the frame in the video, from 0
    masks: NDArray[np.bool_]  # [sentences, H, W], at the frame's own size
    scores: tuple[Scores, ...]  # one per sentence, in the order they were asked
    timings: Mapping[str, float]  # milliseconds per stage that ran for this frame
    asked: bool = True  # whether the language model was asked about this frame, or an earlier embedding served
