"""What a precision does to masks: videos are run through a bundle and a changed one, and their masks compared."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from glus_edge.benchmarks.metrics.j_and_f import boundary_accuracy, region_similarity
from glus_edge.calibration.videos.calibration_video import CalibrationVideo
from glus_edge.runtime.backends.engine import Backend, Engine
from glus_edge.runtime.backends.onnxruntime_engine import OnnxRuntimeBackend
from glus_edge.runtime.backends.onnxruntime_session import OnnxRuntimeOptions
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.signatures import GRAPHS
from glus_edge.runtime.segmenter import Segmenter
from glus_edge.runtime.video.frame import Frame, FrameSize
from glus_edge.runtime.video.video import Video

Masks = list[NDArray[np.bool_]]  # of every video, [frames, sentences, H, W]


class Loss(NamedTuple):
    """What a bundle loses against the unquantised one, in points of 100, the mean over videos and sentences."""

    j_and_f: float  # J&F against the true masks; against the unquantised bundle's where the truth is not known
    mask_iou: float  # 100 - IoU with the unquantised bundle's masks


class MaskJudge:
    """Keeps the unquantised bundle's engines open, and its masks of the videos."""

    def __init__(self, source: Bundle, videos: Sequence[CalibrationVideo], frames: int, sentences: int) -> None:
        """`frames` and `sentences`: how many of each video are run, from the first. Errors: those of `Segmenter`."""
        self._source = source
        self._videos = [video._replace(sentences=video.sentences[:sentences]) for video in videos]
        self._frames = frames
        backend = OnnxRuntimeBackend(source)
        self._engines = {graph: backend.open(graph) for graph in GRAPHS}
        self._masks = self.masks(source, ())
        self.truth_known = all(video.truth is not None for video in self._videos)
        self._truth = [
            masks if video.truth is None else _true_masks(video, video.truth, masks.shape)
            for video, masks in zip(self._videos, self._masks, strict=True)
        ]
        self.score = self._score(self._masks)  # J&F of the unquantised bundle, points; 100 where the truth is not known

    def loss(self, changed: Bundle, graphs: Sequence[str]) -> Loss:
        """Of a bundle that differs from the source in these graphs alone."""
        masks = self.masks(changed, graphs)
        ious = [region_similarity(*pair) for pair in _pairs(masks, self._masks)]
        return Loss(self.score - self._score(masks), 100 - 100 * float(np.mean(ious)))

    def masks(self, bundle: Bundle, graphs: Sequence[str]) -> Masks:
        """Masks of every video; graphs that are not named are the source's."""
        backend = _Mixed(self._engines, OnnxRuntimeBackend(bundle, OnnxRuntimeOptions()), graphs)
        segmenter = Segmenter(bundle, backend)
        try:
            return [self._run(segmenter, video) for video in self._videos]
        finally:
            backend.close_opened()

    def _run(self, segmenter: Segmenter, video: CalibrationVideo) -> NDArray[np.bool_]:
        with closing(video.open()) as opened:
            results = segmenter.segment(_FirstFrames(opened, self._frames), list(video.sentences))
            return np.stack([result.masks for result in sorted(results, key=lambda result: result.index)])

    def _score(self, masks: Masks) -> float:
        values = [(region_similarity(*pair) + boundary_accuracy(*pair)) / 2 for pair in _pairs(masks, self._truth)]
        return 100 * float(np.mean(values))

    def close(self) -> None:
        """Releases the engines."""
        for engine in self._engines.values():
            engine.close()


def _true_masks(
    video: CalibrationVideo, truth: Callable[[int], NDArray[np.bool_]], shape: tuple[int, ...]
) -> NDArray[np.bool_]:
    with closing(video.open()):
        return np.stack([truth(frame)[: shape[1]] for frame in range(shape[0])])


def _pairs(first: Masks, second: Masks) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    for one, other in zip(first, second, strict=True):
        yield from zip(one.reshape(-1, *one.shape[2:]), other.reshape(-1, *other.shape[2:]), strict=True)


class _Mixed:
    """See Backend: engines already open, but for the graphs that are to be another bundle's."""

    name = "onnxruntime"

    def __init__(self, held: dict[str, Engine], other: Backend, graphs: Sequence[str]) -> None:
        self._held, self._other, self._graphs = held, other, graphs
        self._opened: list[Engine] = []
        self.device = other.device

    def open(self, graph: str) -> Engine:
        """See Backend."""
        if graph not in self._graphs:
            return self._held[graph]
        self._opened.append(self._other.open(graph))
        return self._opened[-1]

    def close_opened(self) -> None:
        """Releases what was opened here."""
        for engine in self._opened:
            engine.close()


class _FirstFrames:
    """The beginning of a video, as a Video."""

    def __init__(self, video: Video, count: int) -> None:
        self._video = video
        self.path: Path = video.path
        self.size: FrameSize = video.size
        self.frame_rate: Fraction = video.frame_rate
        self.truncated = video.truncated
        self.gaps = video.gaps
        self.frame_count = min(count, video.frame_count)
        self.stems = video.stems[: self.frame_count]

    def read(self, index: int) -> Frame:
        return self._video.read(range(self.frame_count)[index])

    def frames(self, start: int = 0, stop: int | None = None, step: int = 1) -> Iterator[Frame]:
        return self._video.frames(start, self.frame_count if stop is None else stop, step)

    def close(self) -> None:
        self._video.close()
