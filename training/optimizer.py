"""The optimiser: Muon for the matrices inside transformer layers, AdamW for everything else."""

from typing import Any

import torch

from glus_edge.training.learner import Learner
from glus_edge.training.settings import TrainingSettings


def parameters(learner: Learner) -> list[torch.nn.Parameter]:
    """Everything that is trained."""
    return [*learner.glus.parameters(), *learner.tower.parameters(), *learner.heads.parameters()]


def hidden_matrices(learner: Learner) -> list[torch.nn.Parameter]:
    """The matrices inside layers: the language model's with its projector and prompt head, SAM 2's, and the tower's."""
    body, sam = learner.glus.model, learner.sam
    parts = [body.layers, body.mm_projector, body.text_hidden_fcs]
    parts += [sam.image_encoder.trunk.blocks, sam.memory_attention.layers, sam.sam_mask_decoder.transformer]
    parts += [learner.tower.vision_model.encoder.layers]
    return [p for part in parts for p in part.parameters() if p.dim() == 2]


class TrainingOptimizer:
    """Both optimisers as one. Groups carry `rate_scale`, their share of the stage's rate.

    Muon turns a matrix's step into an orthogonal one of the size AdamW's would have, so that one rate serves both:
    grounding appears in a fraction of the steps AdamW alone needs.
    """

    def __init__(self, learner: Learner, settings: TrainingSettings) -> None:
        hidden = {id(p) for p in hidden_matrices(learner)}
        slow = {id(p) for p in learner.sam.parameters()}

        def groups(in_muon: bool, decayed: bool) -> list[dict[str, Any]]:
            members = [p for p in parameters(learner) if (id(p) in hidden) == in_muon and (p.dim() > 1) == decayed]
            parts = [(1.0, [p for p in members if id(p) not in slow])]
            parts += [(settings.sam_rate_share, [p for p in members if id(p) in slow])]
            decay = settings.weight_decay if decayed else 0.0
            return [{"params": some, "weight_decay": decay, "rate_scale": scale} for scale, some in parts]

        adam = torch.optim.AdamW(groups(False, True) + groups(False, False), lr=1e-3, betas=(0.9, 0.98), eps=1e-8)
        muon = torch.optim.Muon(groups(True, True), lr=1e-3, momentum=0.95, adjust_lr_fn="match_rms_adamw")
        self.parts: tuple[torch.optim.Optimizer, ...] = (adam, muon)

    def set_rate(self, rate: float) -> None:
        """The rate of the next step."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = rate * group["rate_scale"]

    def parameters(self) -> list[torch.nn.Parameter]:
        """What it moves."""
        return [p for part in self.parts for group in part.param_groups for p in group["params"]]

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


class ScoreOptimizer(TrainingOptimizer):
    """AdamW for the stage of [SCORE], in which everything else rests."""

    def __init__(self, learner: Learner, settings: TrainingSettings) -> None:
        group = {"params": list(learner.score.parameters()), "rate_scale": 1.0}
        self.parts = (torch.optim.AdamW([group], lr=1e-3, betas=(0.9, 0.98), weight_decay=settings.weight_decay),)


def stage_optimizer(learner: Learner, settings: TrainingSettings, stage: int) -> TrainingOptimizer:
    """The optimiser of a stage, by its number."""
    score = stage < len(settings.stages) and settings.stages[stage].kind == "score"
    return ScoreOptimizer(learner, settings) if score else TrainingOptimizer(learner, settings)
