"""result.json: what a run was asked, how it went, and the scores and timings of every frame."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from glus_edge.runtime.loop.result import FrameResult
from glus_edge.runtime.output.frame_record import frame_record
from glus_edge.runtime.output.output_folder import MASK_FOLDER, RESULT_FORMAT
from glus_edge.runtime.utils.schema import to_json
from glus_edge.runtime.video.video import Video

FORMAT_VERSION = 1

RUNNING, COMPLETE, INTERRUPTED, TRUNCATED = "running", "complete", "interrupted", "truncated"
DAMAGED = "damaged"  # every frame that could be decoded was segmented, and the video has gaps


@dataclass(frozen=True)
class RunDescription:
    """What is known of a run before its first frame."""

    bundle: str  # path or name
    sentences: tuple[str, ...]
    policy: str
    backend: str
    precision: Mapping[str, str]  # per graph
    context_frames: tuple[int, ...]  # indices of the frames the language model sees throughout
    key_frame: int  # index of the frame the masks are propagated from
    refresh: str = "always"  # when the language model is asked
    memory: str = "reference"  # which frames' memories are kept
    lost: str = "never"  # what becomes of masks when the object is gone
    backend_reason: str = "given"  # why it is this backend


class RunRecord:
    """Gathers the lines of result.json, a few hundred bytes a frame."""

    def __init__(self, run: RunDescription, video: Video) -> None:
        self._run = run
        self._video = video
        self._frames: dict[int, str] = {}

    @property
    def indices(self) -> list[int]:
        """Indices of the frames recorded, in the video's order."""
        return sorted(self._frames)

    def record(self, time: float, result: FrameResult) -> None:
        """Records a frame, `time` in seconds; one seen before (the key frame, from both sides) is replaced."""
        entry = {"stem": self._video.stems[result.index], **frame_record(result.index, time, result)}
        self._frames[result.index] = json.dumps(entry, allow_nan=False)

    def json(self, status: str, reason: str | None = None, overlay: str | None = None) -> bytes:
        """The file's content. `overlay`: the overlay's name once it is there."""
        header: dict[str, Any] = {
            "format": RESULT_FORMAT,
            "format_version": FORMAT_VERSION,
            "status": status,
            "reason": reason,
            **to_json(self._run),
            "precision": dict(self._run.precision),
            "video": {
                "path": str(self._video.path),
                "frame_count": self._video.frame_count,
                "height": self._video.size.height,
                "width": self._video.size.width,
                "frame_rate": float(self._video.frame_rate),
                "truncated": self._video.truncated,
                "gaps": [gap.record() for gap in self._video.gaps],
            },
            "masks": f"{MASK_FOLDER}/<sentence number, from 0>/<stem>.png",
            "overlay": overlay,
        }
        lines = ",\n    ".join(self._frames[index] for index in self.indices)
        head = json.dumps(header, indent=2, ensure_ascii=False, allow_nan=False).removesuffix("\n}")
        # A path need not be text: the bytes that are none are escaped as JSON escapes them.
        return f'{head},\n  "frames": [\n    {lines}\n  ]\n}}\n'.encode(errors="backslashreplace")
