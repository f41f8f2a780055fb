"""What a profile measures; the command line's defaults."""

from dataclasses import dataclass
from pathlib import Path

from glus_edge.runtime.open_backend import SegmenterOptions
from glus_edge.runtime.policies.loop_rules import LoopChoice

BLOCK_FRAMES = 12  # after them memory attention (every 3rd frame) and the query window (4 turns) are where they were
WARM_UP_FRAMES = 24  # two blocks: by then all memory slots are in use and the query window is full
SKIPPED_SHARE = 0.01  # of all frames, that a number of streams may skip and still count as kept up with
VERIFYING_RUNS = 5
LOAD = 0.7  # of the scenario `server`, where no rate is given: of what it can do without waiting


@dataclass(frozen=True)
class ProfileSettings:
    """One call of `glus-edge bench profile`."""

    bundle: Path
    options: SegmenterOptions
    scenario: str = "single"
    video: Path | None = None  # None: made up, 480 x 854
    policies: tuple[str, ...] = ("window",)
    refresh: str = "always"  # of every policy, as are the next two
    memory: str = "reference"
    lost: str = "never"
    sentences: tuple[int, ...] = (1,)
    frames: int = 240  # measured: of `single`, `offline` and `server`
    seconds: float = 10.0  # of `live`, and of each trial of `streams`
    rate: float | None = None  # frames a second of each source: the video's own; clips a second: LOAD
    deadline_ms: float | None = None  # of live sources, as `stream` has it; None: late is later than the next frame
    clip_frames: int = 48  # of `offline` and `server`
    maximum_streams: int = 64
    idle_s: float = 3.0  # for which idle power is measured
    seed: int = 0  # of the random arrivals
    trace: Path | None = None

    def choice(self, policy: str) -> LoopChoice:
        """The rules of one policy's run."""
        return LoopChoice(policy, self.refresh, self.memory, self.lost)

    @property
    def blocks(self) -> int:
        """Blocks of a contender that takes turns."""
        return -(-self.frames // BLOCK_FRAMES)
