import threading
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from glus_edge.benchmarks.instruments.memory_video import MemoryVideo
from glus_edge.benchmarks.profiler.memory_owners import DECODED, MemoryOwners
from glus_edge.benchmarks.profiler.paced_source import PacedSource
from glus_edge.benchmarks.profiler.timed_video import TimedVideo
from glus_edge.runtime.video.frame import Frame

FRAMES = np.zeros((6, 4, 6, 3), np.uint8)


class SlowVideo(MemoryVideo):
    """Each frame takes 20 ms to decode."""

    def read(self, index: int) -> Frame:
        time.sleep(0.02)
        return super().read(index)


def source(video: MemoryVideo, frames: int, rate: float = 200.0) -> tuple[PacedSource, threading.Condition]:
    news = threading.Condition()
    return PacedSource(TimedVideo(video, MemoryOwners()), frames, rate, news), news


def finished(paced: PacedSource, news: threading.Condition) -> None:
    with news:
        assert news.wait_for(lambda: paced.over, timeout=30)


def test_a_frame_nobody_takes_is_replaced_and_counted_as_skipped() -> None:
    paced, news = source(MemoryVideo("made up", FRAMES), 6)
    paced.start(time.perf_counter())
    finished(paced, news)
    newest = paced.take()
    assert newest is not None
    assert (newest.number, paced.sent, paced.skipped, paced.newest) == (5, 6, 5, None)
    paced.close()


def test_a_frame_arrives_when_it_is_due_however_long_it_decodes() -> None:
    paced, news = source(SlowVideo("slow", FRAMES), 3)
    begin = time.perf_counter()
    paced.start(begin)
    finished(paced, news)
    newest = paced.take()
    assert newest is not None
    assert newest.arrived == pytest.approx(begin + 2 / 200)
    assert newest.decode_ms >= 20
    assert time.perf_counter() - begin >= 0.06
    paced.close()


def test_an_error_of_the_video_ends_the_source_and_is_kept() -> None:
    paced, news = source(MemoryVideo("short", FRAMES), 7)
    paced.start(time.perf_counter())
    finished(paced, news)
    assert isinstance(paced.error, IndexError)
    paced.close()


def test_frames_that_are_held_count_as_decoded() -> None:
    owners = MemoryOwners()
    video = TimedVideo(MemoryVideo("made up", FRAMES), owners)
    held = list(video.frames())
    assert owners.bytes() == {DECODED: FRAMES.nbytes}
    assert video.decode_ms(0) > 0
    assert video.decode_ms(0) == 0.0  # told once
    del held
    assert owners.bytes() == {}
    assert (video.frame_rate, video.path, video.gaps, video.truncated) == (Fraction(10), Path("made up"), (), None)
