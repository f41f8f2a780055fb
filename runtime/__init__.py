"""Runs a bundle on video: frames and sentences in, one mask per frame and sentence out. Never imports torch."""

from glus_edge.runtime.bundle import Bundle
from glus_edge.runtime.errors import (
    BundleError,
    CheckpointError,
    EngineError,
    GlusEdgeError,
    InputError,
    OutputError,
    VideoError,
)
from glus_edge.runtime.frame import Frame
from glus_edge.runtime.result import FrameResult, Scores
from glus_edge.runtime.segmenter import Segmenter, SegmenterOptions, VideoRun
from glus_edge.runtime.video import Video, open_video

__all__ = [
    "Bundle",
    "BundleError",
    "CheckpointError",
    "EngineError",
    "Frame",
    "FrameResult",
    "GlusEdgeError",
    "InputError",
    "OutputError",
    "Scores",
    "Segmenter",
    "SegmenterOptions",
    "Video",
    "VideoError",
    "VideoRun",
    "open_video",
]
