import json

import numpy as np
import pytest

from glus_edge.runtime.loop.result import FrameResult, Scores
from glus_edge.runtime.output.stream_record import KeepingUp, stream_line
from glus_edge.runtime.video.gap import Gap
from glus_edge.runtime.video.live_source import LiveFrame


def result(*masks: np.ndarray, asked: bool = True) -> FrameResult:
    return FrameResult(0, np.stack(masks), tuple(Scores(0.5, 1.0, True, 0) for _ in masks), {"masks": 1.23456}, asked)


def arrival(number: int = 7) -> LiveFrame:
    return LiveFrame(np.zeros((4, 6, 3), np.uint8), number, 0.28, 100.0)


def test_a_line_holds_every_sentences_box_in_pixels() -> None:
    mask = np.zeros((4, 6), np.bool_)
    mask[1:3, 2:5] = True
    document = json.loads(stream_line(arrival(), result(mask, np.zeros_like(mask)), 12.3456, 2, ("a", "b")))
    assert (document["index"], document["time_s"], document["latency_ms"], document["passed_over"]) == (
        7,
        0.28,
        12.35,
        2,
    )
    first, second = document["sentences"]
    assert (first["area_px"], first["box"], first["predicted_iou"]) == (6, [2, 1, 3, 2], 0.5)
    assert (second["area_px"], second["box"]) == (0, None)
    assert (first["text"], second["text"]) == ("a", "b")


def test_a_number_that_is_none_never_reaches_the_reader() -> None:
    broken = FrameResult(0, np.zeros((1, 4, 6), np.bool_), (Scores(float("nan"), 0.0, True, 0),), {}, True)
    (sentence,) = json.loads(stream_line(arrival(), broken, 1.0, 0, ("a",)))["sentences"]
    assert (sentence["predicted_iou"], sentence["object_score"], sentence["segmented"]) == (None, 0.0, True)


def test_the_summary_counts_frames_questions_and_what_came_late() -> None:
    keeping_up = KeepingUp(50)
    assert keeping_up.summary() == "no frame came"
    mask = np.zeros((4, 6), np.bool_)
    for latency in range(1, 101):
        keeping_up.record(result(mask, asked=latency % 4 == 0), latency, passed_over=1)
    assert keeping_up.percentiles() == pytest.approx((50.5, 95.05, 99.01))
    assert keeping_up.summary() == (
        "100 frames, 100 passed over, asked about 25; from arrival to masks p50 50.5, p95 95.0, p99 99.0 ms, "
        "50 later than 50 ms"
    )


def test_memory_does_not_grow_with_the_stream() -> None:
    keeping_up = KeepingUp(None)
    mask = np.zeros((1, 1), np.bool_)
    for _ in range(10_050):
        keeping_up.record(result(mask), 1.0, 0)
    assert keeping_up.frames == 10_050
    assert len(keeping_up._latencies) == 10_000


def test_a_line_tells_the_gaps_before_its_frame() -> None:
    gap = Gap(7, 7, 2, 0.2, 0.28, "cannot be decoded (Invalid data)")
    frame = LiveFrame(np.zeros((4, 6, 3), np.uint8), 7, 0.28, 100.0, gaps=(gap,))
    (told,) = json.loads(stream_line(frame, result(np.zeros((4, 6), np.bool_)), 1.0, 0, ("a",)))["gaps"]
    assert (told["after_frame"], told["before_frame"], told["lost_pictures"]) == (6, 7, 2)


def test_a_deadline_that_is_not_met_is_told_when_it_becomes_so_and_once() -> None:
    keeping_up, mask = KeepingUp(50), np.zeros((1, 1), np.bool_)

    def warnings(latency: float, frames: int) -> list[tuple[int, str]]:
        told = []
        for number in range(frames):
            keeping_up.record(result(mask), latency, 0)
            if (warning := keeping_up.warning()) is not None:
                told.append((number, warning))
        return told

    ((number, warning),) = warnings(80, 200)
    assert number == 15  # of 30, 16 are late
    assert warning.startswith("16 of the last 30 frames came later than 50 ms (median 80 ms); fewer sentences")
    assert not warnings(20, 40)
    assert len(warnings(80, 200)) == 1


def test_without_a_deadline_nothing_is_late() -> None:
    keeping_up = KeepingUp(None)
    for _ in range(100):
        keeping_up.record(result(np.zeros((1, 1), np.bool_)), 1e6, 0)
    assert keeping_up.warning() is None
