"""The optimiser: Muon for the language model's matrices, AdamW for everything else."""

from typing import Any

import torch

from glus_edge.training.settings import TrainingSettings
from glus_edge.training.steps import Learner


def parameters(learner: Learner) -> list[torch.nn.Parameter]:
    """Everything that is trained."""
    return [*learner.glus.parameters(), *learner.tower.parameters(), *learner.heads.parameters()]


def language_matrices(learner: Learner) -> list[torch.nn.Parameter]:
    """The matrices of the language model's layers, of the projector before it and of the prompt head behind it."""
    body = learner.glus.model
    parts = (body.layers, body.mm_projector, body.text_hidden_fcs)
    return [p for part in parts for p in part.parameters() if p.dim() == 2]


class TrainingOptimizer:
    """Both optimisers as one. Groups carry `rate_scale`, their share of the stage's rate.

    Muon turns a matrix's step into an orthogonal one of the size AdamW's would have, so that one rate serves both:
    grounding appears in a fraction of the steps AdamW alone needs.
    """

    def __init__(self, learner: Learner, settings: TrainingSettings) -> None:
        matrices = language_matrices(learner)
        slow = {id(p) for p in learner.sam.parameters()}
        taken = {id(p) for p in matrices}
        groups = []
        for decayed in (True, False):
            for scale in (1.0, settings.sam_rate_share):
                members = [
                    p
                    for p in parameters(learner)
                    if (p.dim() > 1) == decayed and (id(p) in slow) == (scale < 1.0) and id(p) not in taken
                ]
                decay = settings.weight_decay if decayed else 0.0
                groups.append({"params": members, "weight_decay": decay, "rate_scale": scale})
        adam = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.98), eps=1e-8)
        muon = torch.optim.Muon(
            matrices, lr=1e-3, weight_decay=settings.weight_decay, momentum=0.95, adjust_lr_fn="match_rms_adamw"
        )
        muon.param_groups[0]["rate_scale"] = 1.0
        self.parts: tuple[torch.optim.Optimizer, ...] = (adam, muon)

    def set_rate(self, rate: float) -> None:
        """The rate of the next step."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = rate * group["rate_scale"]

    def zero_grad(self) -> None:
        """Forgets gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def step(self) -> None:
        """Moves everything that has a gradient."""
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` takes."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a saved state."""
        for part, saved in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(saved)
