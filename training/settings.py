"""The stages of training and their settings."""

import re
from dataclasses import dataclass, field, replace

from glus_edge.runtime.errors import InputError
from glus_edge.training.ablation import WHOLE
from glus_edge.training.data.batch import Mix
from glus_edge.training.model.language import LanguageSizes
from glus_edge.training.model.network import TowerSizes

Shares = tuple[tuple[str, float], ...]

EASY: Shares = (("appearance", 0.75), ("relation", 0.08), ("motion", 0.12), ("none", 0.05))
FULL: Shares = (("appearance", 0.22), ("relation", 0.20), ("motion", 0.42), ("none", 0.16))
SCHOOLS = ("tower", "masks")  # kinds of stages in which a part learns by itself


@dataclass(frozen=True)
class Stage:
    """One stage: what is learned, for how long, and from which sentences."""

    name: str
    kind: str  # "tower", "masks", "ground", "joint" or "score"
    steps: int
    peak_rate: float
    first_shares: Shares = FULL
    last_shares: Shares = FULL
    ramp_steps: int = 1  # kinds of sentences are mixed in over this many steps
    warmup_steps: int = 60
    last_rate_share: float = 0.3  # of the peak, reached by a cosine
    videos: int = 4  # per process and step
    sentences: int = 4

    def mix(self, step: int) -> Mix:
        """The batch's make-up at a step."""
        done = min(step / self.ramp_steps, 1.0)
        first, last = dict(self.first_shares), dict(self.last_shares)
        shares = tuple((kind, (1.0 - done) * first[kind] + done * last[kind]) for kind in first)
        return Mix(videos=self.videos, sentences=self.sentences, shares=shares, single_frames=self.kind == "tower")


STAGES = (
    Stage("tower", "tower", 1400, 1.5e-3, videos=32, sentences=0, last_rate_share=0.1),
    Stage("masks", "masks", 800, 1.5e-3, sentences=2, last_rate_share=0.2),
    Stage("ground", "ground", 3200, 1e-3, first_shares=EASY, ramp_steps=2000, warmup_steps=60),
    Stage("motion", "ground", 3200, 7e-4, warmup_steps=100),  # grounding goes on, all kinds of sentences from the start
    Stage("joint", "joint", 2000, 4e-4, last_rate_share=0.03),
    Stage("score", "score", 300, 3e-3, warmup_steps=10, last_rate_share=0.05),
)


def stages_from_text(text: str) -> tuple[Stage, ...]:
    """Stages by name, with other numbers of steps where they are given: "ground,joint:600". InputError: no such stage."""
    known = {stage.name: stage for stage in STAGES}
    found = []
    for part in text.split(","):
        match = re.fullmatch(r"([a-z]+)(?::([1-9][0-9]{0,8}))?", part)
        if match is None or match[1] not in known:
            raise InputError(f"stages: got {part!r}, expected NAME or NAME:STEPS, names being {', '.join(known)}")
        stage = known[match[1]]
        found.append(replace(stage, steps=int(match[2] or stage.steps)))
    return tuple(found)


@dataclass(frozen=True)
class TrainingSettings:
    """How a training run goes."""

    stages: tuple[Stage, ...] = STAGES
    seed: int = 1
    processes: int = 2  # each with one thread and its own share of the batch
    weight_decay: float = 0.02
    sam_rate_share: float = 0.75  # of the rate, for SAM 2
    largest_gradient_norm: float = 1.0
    compile_layers: bool = True
    log_every: int = 10
    validate_every: int = 100
    save_every: int = 50
    validation_batches: int = 4
    rollback_share: float = 0.6  # grounding below this share of its best goes back to the best
    ablation: str = WHOLE  # what of the method the run goes without; a name of ABLATIONS
    language: LanguageSizes = field(default_factory=lambda: LanguageSizes(vocabulary=903))
    tower: TowerSizes = field(default_factory=TowerSizes)
