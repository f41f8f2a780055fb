"""Runs a bundle on video: frames and sentences in, one mask per frame and sentence out. Never imports torch.

Names are imported when they are first used, so that `glus-edge --help` is instant and `glus-edge doctor` can say what is
wrong with a library that does not import.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glus_edge.runtime.bundle.bundle import Bundle
    from glus_edge.runtime.errors import (
        BundleError,
        CheckpointError,
        EngineError,
        GlusEdgeError,
        InputError,
        OutputError,
        VideoError,
    )
    from glus_edge.runtime.loop.live_session import LiveSession
    from glus_edge.runtime.loop.result import FrameResult, Scores
    from glus_edge.runtime.open_backend import SegmenterOptions
    from glus_edge.runtime.segmenter import Segmenter, VideoRun
    from glus_edge.runtime.video.frame import Frame
    from glus_edge.runtime.video.live_source import LiveFrame, LiveSource
    from glus_edge.runtime.video.video import Video, open_video

_MODULES = {
    "bundle.bundle": ("Bundle",),
    "errors": (
        "BundleError",
        "CheckpointError",
        "EngineError",
        "GlusEdgeError",
        "InputError",
        "OutputError",
        "VideoError",
    ),
    "video.frame": ("Frame",),
    "loop.live_session": ("LiveSession",),
    "video.live_source": ("LiveFrame", "LiveSource"),
    "loop.result": ("FrameResult", "Scores"),
    "open_backend": ("SegmenterOptions",),
    "segmenter": ("Segmenter", "VideoRun"),
    "video.video": ("Video", "open_video"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Bundle",
    "BundleError",
    "CheckpointError",
    "EngineError",
    "Frame",
    "FrameResult",
    "GlusEdgeError",
    "InputError",
    "LiveFrame",
    "LiveSession",
    "LiveSource",
    "OutputError",
    "Scores",
    "Segmenter",
    "SegmenterOptions",
    "Video",
    "VideoError",
    "VideoRun",
    "open_video",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
