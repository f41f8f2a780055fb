"""What of the method a run goes without: the rows of the ablation table."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Ablation:
    """The parts of the method that are there. `glus-edge export --context-frames 0 --memory-slots 0` follows it."""

    context: bool = True  # context frames: global reasoning
    memory: bool = True  # SAM 2's memory bank, trained through
    contrast: bool = True  # the object contrastive loss


WHOLE = "contrastive"
# Each row has what the one before it has, and one part more.
ABLATIONS = {
    "per-frame": Ablation(context=False, memory=False, contrast=False),
    "context": Ablation(memory=False, contrast=False),
    "memory": Ablation(contrast=False),
    WHOLE: Ablation(),
}
