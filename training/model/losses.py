"""The losses: masks (BCE + Dice), coarse grounding, what the tower must know of each patch, and object contrast."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from glus_edge.training.model.sam2 import DecodedMasks


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """1 - Dice of probabilities and a soft target over the last dimension, averaged; empty targets count."""
    p = logits.sigmoid()
    overlap = 2.0 * (p * target).sum(-1) + 1.0
    return (1.0 - overlap / (p.sum(-1) + target.sum(-1) + 1.0)).mean()


def mask_loss(masks: DecodedMasks, target: Tensor) -> Tensor:
    """BCE + Dice of all four masks, the single mask counting most, and the errors of both scores.

    Args:
        masks: of N sentences in one frame.
        target: [N, 2h, 2h] share of every pixel at twice the masks' resolution.
    """
    side = target.shape[-1]
    logits = F.interpolate(masks.logits, (side, side), mode="bilinear", align_corners=False).flatten(2)
    wanted = target.flatten(1)[:, None]
    total = logits.new_zeros(())
    for part, weight in ((slice(0, 1), 1.0), (slice(1, 4), 0.5)):
        some = logits[:, part]
        goal = wanted.expand_as(some)
        total = total + weight * (5.0 * F.binary_cross_entropy_with_logits(some, goal) + dice_loss(some, goal))
    with torch.no_grad():
        iou = iou_from_logits(logits, wanted)
        present = (wanted.flatten(1).sum(1, keepdim=True) > 2.0).float()
    total = total + 0.5 * (masks.predicted_iou - iou).abs().mean()
    return total + 0.1 * F.binary_cross_entropy_with_logits(masks.object_score, present)


def iou_from_logits(logits: Tensor, target: Tensor) -> Tensor:
    """IoU of logits > 0 and target > 0.5 over the last dimension; 1 where both are empty."""
    a, b = logits > 0, target > 0.5
    inter, union = (a & b).sum(-1).float(), (a | b).sum(-1).float()
    return torch.where(union > 0, inter / union.clamp(min=1.0), torch.ones_like(union))


def coarse_loss(logits: Tensor, cover: Tensor) -> Tensor:
    """Where the sentence's objects are, per patch: [..., patches] logits against covered shares."""
    return 4.0 * F.binary_cross_entropy_with_logits(logits, cover) + dice_loss(logits, cover)


def pointer_loss(pointers: Tensor, cover: Tensor) -> Tensor:
    """Cross-entropy of attention logits [N, 4, layers, T] with the shares [N, 4, patches] of the meant objects."""
    tokens = pointers.shape[-1]
    share = cover.view(*cover.shape[:2], tokens, -1).sum(-1)
    total = share.sum(-1, keepdim=True)
    wanted = (share / total.clamp(min=1e-6))[:, :, None]
    losses = -(wanted * pointers.log_softmax(-1)).sum(-1).mean(2)
    present = (total[..., 0] > 0.3).float()
    return (losses * present).sum() / present.sum().clamp(min=1.0)


class PatchTargets(NamedTuple):
    """What is true of the object that covers a patch most; rows whose `seen` is False have none."""

    share: Tensor  # [R] covered by any object
    owner: Tensor  # [R] number of the object
    seen: Tensor  # [R] bool


def patch_targets(cover: Tensor) -> PatchTargets:
    """From shares [..., 1 + objects], background first."""
    best, owner = cover[..., 1:].max(-1)
    return PatchTargets(1.0 - cover[..., 0], owner, best > 0.25)


def classes_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy; rows with a target of -1 do not count; 0 when none does."""
    if not bool((target >= 0).any()):
        return logits.sum() * 0.0
    return F.cross_entropy(logits.float(), target, ignore_index=-1)


class ContrastBank:
    """Object contrastive loss on segment embeddings, with embeddings of earlier steps as negatives."""

    def __init__(self, width: int, size: int = 512, negatives: int = 128, temperature: float = 0.07) -> None:
        self.bank = torch.zeros(size, width)
        self.filled = self.head = 0
        self.negatives, self.temperature = negatives, temperature

    def loss(self, embeddings: Tensor, groups: Tensor) -> Tensor:
        """InfoNCE of [R, D] embeddings; rows of one group (the same objects in the same frame) are positives.

        The other rows of the batch are negatives as well: they are other objects, or other frames.
        """
        x = F.normalize(embeddings.float(), dim=-1)
        same = groups[:, None] == groups[None, :]
        itself = torch.eye(len(x), dtype=torch.bool)
        near = (x @ x.T / self.temperature).masked_fill(itself, -1e4)
        pick = torch.randperm(max(self.filled, 1))[: self.negatives]
        far = x @ self.bank[pick].T / self.temperature if self.filled else near[:, :0]
        total = torch.logsumexp(torch.cat((near, far), 1), 1)
        positive = same & ~itself
        having = positive.any(1)
        self._store(x.detach())
        if not bool(having.any()):
            return x.sum() * 0.0
        best = torch.logsumexp(near.masked_fill(~positive, -1e4), 1)
        return (total - best)[having].mean()

    def _store(self, rows: Tensor) -> None:
        rows = rows[torch.randperm(len(rows))[:32]]
        for row in rows:
            self.bank[self.head] = row
            self.head = (self.head + 1) % len(self.bank)
            self.filled = min(self.filled + 1, len(self.bank))
