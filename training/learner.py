"""The model with everything it is trained with: heads and banks that only training has."""

from dataclasses import dataclass, field
from typing import Any

import torch

from glus_edge.training.ablation import ABLATIONS, Ablation
from glus_edge.training.model.heads import TrainingHeads
from glus_edge.training.model.losses import ContrastBank
from glus_edge.training.model.network import Glus, TowerSizes, build_tower
from glus_edge.training.model.score_head import ScoreHead
from glus_edge.training.model.tokenizer import NanoTokenizer, train_tokenizer
from glus_edge.training.settings import TrainingSettings


@dataclass
class Learner:
    """Everything that is trained, and what it is trained with."""

    glus: Glus
    tower: Any  # CLIPVisionModel
    heads: TrainingHeads
    tokenizer: NanoTokenizer
    sizes: TowerSizes
    contrast: ContrastBank
    score: ScoreHead
    ablation: Ablation = field(default_factory=Ablation)

    @property
    def sam(self) -> Any:
        """SAM2Base."""
        return self.glus.model.visual_model


def build_learner(settings: TrainingSettings) -> Learner:
    """A model with random weights, determined by the seed."""
    torch.manual_seed(settings.seed)
    tokenizer = NanoTokenizer(train_tokenizer())
    assert tokenizer.vocabulary == settings.language.vocabulary, f"tokenizer has {tokenizer.vocabulary} ids"
    glus, tower = Glus(settings.language, settings.tower), build_tower(settings.tower)
    width = glus.model.visual_model.hidden_dim
    heads = TrainingHeads(settings.language, settings.tower, width)
    score = ScoreHead(settings.language.hidden, width)  # last: what the others draw does not depend on it
    bank = ContrastBank(width)
    return Learner(glus, tower, heads, tokenizer, settings.tower, bank, score, ABLATIONS[settings.ablation])
