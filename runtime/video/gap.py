"""Where a video has pictures that could not be decoded."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LostPacket:
    """A coded picture that was not decoded."""

    timestamp: int | None  # when it was to be shown, in the stream's time base
    frames_before: int  # decoded before it was found to be damaged
    reason: str
    behind: bool = False  # the timestamp is that of the first picture behind it


@dataclass(frozen=True)
class Gap:
    """A hole between two frames of a video, and the frames after it that may show traces of it."""

    next_frame: int  # index of the first frame behind the hole; the number of frames if none came
    intact_from: int  # the first frame from there on that was predicted from nothing that is lost
    lost_pictures: int  # 0: all were decoded, those before `intact_from` with errors
    after_s: float | None  # time of the frame before the hole; None: there is none
    before_s: float | None  # time of the frame behind it; None: there is none
    reason: str

    def record(self) -> dict[str, Any]:
        """For JSON. Frame numbers and times are null where the hole lies at the video's begin or end."""
        return {
            "after_frame": self.next_frame - 1 if self.next_frame else None,
            "before_frame": None if self.before_s is None else self.next_frame,
            "after_s": _rounded(self.after_s),
            "before_s": _rounded(self.before_s),
            "lost_pictures": self.lost_pictures,
            "intact_from_frame": self.intact_from,
            "reason": self.reason,
        }

    def __str__(self) -> str:
        """For people."""
        frame = "the beginning" if self.after_s is None else f"frame {self.next_frame - 1} ({self.after_s:.2f} s)"
        if not self.lost_pictures:
            return f"frames {self.next_frame} to {self.intact_from - 1} were decoded with errors"
        traces = (
            f", frames {self.next_frame} to {self.intact_from - 1} may show traces"
            if self.intact_from > self.next_frame
            else ""
        )
        return f"{self.lost_pictures} picture(s) lost after {frame}: {self.reason}{traces}"


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
