"""How many query frames a prompt shows: the window policies. Pure Python, no engine."""

from dataclasses import dataclass
from typing import Protocol

from glus_edge.runtime.errors import InputError
from glus_edge.runtime.manifest import WindowSettings


class WindowPolicy(Protocol):
    """Decides the query window of every step of a run."""

    @property
    def name(self) -> str:
        """What `--policy` and result.json call it."""

    def turns(self, step: int) -> int:
        """Query frames shown at `step` (from 0), the asked one included: the window is the last that many frames."""


@dataclass(frozen=True)
class ExactWindow:
    """The reference's sliding window: at most `query_frames`, the oldest dropped when a new one comes."""

    query_frames: int
    name: str = "exact"

    def turns(self, step: int) -> int:
        """See WindowPolicy."""
        return min(step + 1, self.query_frames)


def window_policy(name: str, settings: WindowSettings) -> WindowPolicy:
    """The policy of this name. InputError: there is none."""
    if name != "exact":
        raise InputError(f"policy: got {name!r}, expected 'exact'")
    return ExactWindow(settings.query_frames)
