"""How many query frames a prompt shows: the window policies, which the command line calls `--policy`. Pure Python."""

from dataclasses import dataclass

from glus_edge.runtime.bundle.manifest import WindowSettings
from glus_edge.runtime.errors import InputError


@dataclass(frozen=True)
class Window:
    """The query window of one step."""

    turns: int  # query frames shown, the asked one included: the last that many of the run
    keep: bool  # True: the rows of turns that stay are reused where a turn was dropped before them (`rolling`)


@dataclass(frozen=True)
class WindowPolicy:
    """Decides the window of every step of a run.

    `exact`: the reference's sliding window; when a turn is dropped all that follow are computed again.
    `window`: grows to `query_frames` turns, then starts again with one: every step computes its own turn only.
    `rolling`: slides as `exact` does, but turns that stay keep their keys and values and move to new positions.
    """

    name: str
    query_frames: int

    @property
    def contiguous(self) -> bool:
        """Whether a window holds the video's last frames, as in training; else the last frames asked about."""
        return self.name == "exact"

    def window(self, step: int) -> Window:
        """The window of `step`, counted from 0 at the start of a run."""
        if self.name == "window":
            return Window(step % self.query_frames + 1, keep=False)
        return Window(min(step + 1, self.query_frames), keep=self.name == "rolling")


WINDOW_POLICIES = ("exact", "window", "rolling")


def window_policy(name: str, settings: WindowSettings) -> WindowPolicy:
    """The policy of this name. InputError: there is none."""
    if name not in WINDOW_POLICIES:
        raise InputError(f"policy: got {name!r}, expected one of {', '.join(WINDOW_POLICIES)}")
    return WindowPolicy(name, settings.query_frames)
