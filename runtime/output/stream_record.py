"""What a live run says: a line of JSON per frame, and how it kept up."""

import json
from collections import deque
from typing import Any, NamedTuple

import numpy as np

from glus_edge.runtime.loop.result import FrameResult
from glus_edge.runtime.output.frame_record import frame_record
from glus_edge.runtime.video.live_source import LiveFrame

_LOOKED_AT = 30  # frames of which most are late, before that is told
_REMEMBERED = 10_000  # latencies of which percentiles are made: memory does not grow with the stream


def stream_record(arrival: LiveFrame, result: FrameResult, latency_ms: float, passed_over: int) -> dict[str, Any]:
    """One frame of a stream for JSON: `frame_record`, when it came, how many frames before it were not segmented,
    and the gaps before it."""
    record = frame_record(arrival.number, arrival.time, result)
    gaps = [gap.record() for gap in arrival.gaps]
    return {**record, "latency_ms": round(latency_ms, 2), "passed_over": passed_over, "gaps": gaps}


def stream_line(
    arrival: LiveFrame, result: FrameResult, latency_ms: float, passed_over: int, texts: tuple[str, ...]
) -> str:
    """`stream_record` as a line of JSON, without its line break; each sentence with its text."""
    record = stream_record(arrival, result, latency_ms, passed_over)
    for sentence, text in zip(record["sentences"], texts, strict=True):
        sentence["text"] = text
    return json.dumps(record, allow_nan=False)


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
        self._late_of_last: deque[bool] = deque(maxlen=_LOOKED_AT)
        self._told = False
        self.frames = self.passed_over = self.asked = self.late = 0

    def record(self, result: FrameResult, latency_ms: float, passed_over: int) -> None:
        """Counts a frame."""
        self._latencies.append(latency_ms)
        self.frames += 1
        self.passed_over += passed_over
        self.asked += result.asked
        late = self._deadline_ms is not None and latency_ms > self._deadline_ms
        self.late += late
        self._late_of_last.append(late)

    def warning(self) -> str | None:
        """That most of the last frames came too late, once; again after none of as many has."""
        late = sum(self._late_of_last)
        self._told = self._told and late > 0
        if self._told or self._deadline_ms is None or 2 * late <= _LOOKED_AT:
            return None
        self._told = True
        median = np.median(list(self._latencies)[-_LOOKED_AT:])
        return (
            f"{late} of the last {_LOOKED_AT} frames came later than {self._deadline_ms:g} ms (median {median:.0f} ms); fewer "
            "sentences, a smaller or quantised bundle, a faster --backend or a longer --deadline-ms helps"
        )

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
