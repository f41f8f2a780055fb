"""Runs that the tests of output write: made-up masks of a small video."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from glus_edge.runtime.loop.result import FrameResult, Scores
from glus_edge.runtime.output.run_record import RunDescription
from glus_edge.runtime.output.writer import OutputWriter
from glus_edge.runtime.video.frame import Frame
from glus_edge.runtime.video.video import Video

VideoWriter = Callable[..., Path]

RUN = RunDescription(
    bundle="bundle",
    sentences=("the red ball", "der grüne Ball"),
    policy="exact",
    backend="onnxruntime",
    precision={"image_encoder": "float32"},
    context_frames=(1, 3, 5, 7),
    key_frame=3,
)


def masks_of(frame: Frame) -> np.ndarray:
    """A square that moves with the frame's number, and its complement."""
    square = np.zeros(frame.size, np.bool_)
    square[frame.index : frame.index + 8, 4:20] = True
    return np.stack([square, ~square])


def result_of(frame: Frame) -> FrameResult:
    scores = (Scores(0.75, -1.5, True, 2), Scores(float("nan"), None, False, None))
    return FrameResult(frame.index, masks_of(frame), scores, {"clip_encoder": 1.25, "language_model": 20.0})


def record(directory: Path) -> dict[str, Any]:
    return dict(json.loads((directory / "result.json").read_text()))


def write_all(directory: Path, video: Video, **options: Any) -> None:
    with OutputWriter.open(directory, video, RUN, **options) as writer:
        for frame in video.frames():
            writer.write(frame, result_of(frame))


def write_some(directory: Path, video: Video, indices: tuple[int, ...], error: BaseException) -> None:
    with OutputWriter.open(directory, video, RUN) as writer:
        for index in indices:
            frame = video.read(index)
            writer.write(frame, result_of(frame))
        raise error
