"""What is run while time is taken: a video, over and over."""

from pathlib import Path

import numpy as np

from glus_edge.benchmarks.instruments.memory_video import LoopedVideo, MemoryVideo
from glus_edge.export.parity.sample_frames import sample_frames
from glus_edge.runtime.video.video import Video, open_video

MADE_UP_FRAMES = 24
SENTENCES = (
    "the red disc that crosses the picture",
    "the person on the left",
    "the dog that runs after the ball",
    "the white car that turns left",
    "the larger of the two birds",
    "a hand holding a cup",
    "the cat sitting behind the window",
    "the bicycle that stops at the crossing",
)


def bench_video(path: Path | None, frames: int) -> Video:
    """`frames` frames: of a file or folder, decoded anew in each round, or made up (480 x 854) where none is given."""
    if path is not None:
        return LoopedVideo(open_video(path), frames)
    pictures = np.stack([frame.rgb for frame in sample_frames(MADE_UP_FRAMES)])
    return LoopedVideo(MemoryVideo("made up", pictures), frames)


def bench_sentences(count: int) -> tuple[str, ...]:
    """`count` sentences, of lengths as people write them."""
    return tuple(SENTENCES[number % len(SENTENCES)] for number in range(count))
