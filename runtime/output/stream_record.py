"""What a live run says: a line of JSON per frame, and how it kept up."""

import json
from collections import deque
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from glus_edge.runtime.loop.result import FrameResult, Scores
from glus_edge.runtime.utils.schema import record_json
from glus_edge.runtime.video.live_source import Arrival

_REMEMBERED = 10_000  # latencies of which percentiles are made: memory does not grow with the stream


def record_of(arrival: Arrival, result: FrameResult, latency_ms: float, passed_over: int) -> dict[str, Any]:
    """One frame for JSON; boxes are left, top, width, height in pixels, null for an empty mask."""
    return {
        "frame": arrival.number,
        "time": round(arrival.time, 4),
        "latency_ms": round(latency_ms, 2),
        "passed_over": passed_over,
        "asked": result.asked,
        "sentences": [_sentence(mask, scores) for mask, scores in zip(result.masks, result.scores, strict=True)],
        "timings": {stage: round(spent, 2) for stage, spent in result.timings.items()},
    }


def line_of(arrival: Arrival, result: FrameResult, latency_ms: float, passed_over: int) -> str:
    """`record_of` without a line break."""
    return json.dumps(record_of(arrival, result, latency_ms, passed_over), allow_nan=False)


def _sentence(mask: NDArray[np.bool_], scores: Scores) -> dict[str, Any]:
    area = int(np.count_nonzero(mask))
    box = list(cv2.boundingRect(mask.view(np.uint8))) if area else None
    return {"area": area, "box": box, **record_json(scores)}


class Percentiles(NamedTuple):
    """Of latencies, in milliseconds."""

    p50: float
    p95: float
    p99: float


class KeepingUp:
    """How a live run fares."""

    def __init__(self, deadline_ms: float | None) -> None:
        self._deadline_ms = deadline_ms
        self._latencies: deque[float] = deque(maxlen=_REMEMBERED)
        self.frames = self.passed_over = self.asked = self.late = 0

    def note(self, result: FrameResult, latency_ms: float, passed_over: int) -> None:
        """Takes notice of a frame."""
        self._latencies.append(latency_ms)
        self.frames += 1
        self.passed_over += passed_over
        self.asked += result.asked
        self.late += self._deadline_ms is not None and latency_ms > self._deadline_ms

    def percentiles(self) -> Percentiles:
        """Of the latencies of the last frames; there has been one."""
        return Percentiles(*np.percentile(np.array(self._latencies), (50, 95, 99)).tolist())

    def summary(self) -> str:
        """One line for people."""
        if not self.frames:
            return "no frame came"
        late = "" if self._deadline_ms is None else f", {self.late} later than {self._deadline_ms:g} ms"
        spread = self.percentiles()
        return (
            f"{self.frames} frames, {self.passed_over} passed over, asked about {self.asked}; from arrival to masks "
            f"p50 {spread.p50:.1f}, p95 {spread.p95:.1f}, p99 {spread.p99:.1f} ms{late}"
        )
