"""Heads that exist in training only: they teach the parts and are not in the checkpoint."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glus_edge.training.data.batch import CONTEXT_FRAMES, HEADINGS, Batch
from glus_edge.training.data.scene import COLOURS, MOTIONS, SHAPES, SIZES, TEXTURES
from glus_edge.training.model.language import LanguageSizes
from glus_edge.training.model.losses import PatchTargets, classes_loss, coarse_loss, patch_targets
from glus_edge.training.model.network import POOLED_PATCHES, TowerSizes

LOOKS = ("shape", "colour", "texture", "size")
_LOOKS = (len(SHAPES), len(COLOURS), len(TEXTURES), len(SIZES))
_MOTIONS = (len(MOTIONS), len(HEADINGS), len(HEADINGS))
SPEED_SCALE = 20.0  # a frame's step of 0.05 sides becomes 1
PLACE_SCALE = 5.0


class TrainingHeads(nn.Module):
    """Linear read-outs of the tower's tokens, of image rows in the language model, and of segment rows."""

    centres: Tensor  # [patches, 2] as (x, y) in sides

    def __init__(self, language: LanguageSizes, tower: TowerSizes, prompt_width: int) -> None:
        super().__init__()
        patches = tower.grid**2
        self.look = nn.Linear(tower.hidden, POOLED_PATCHES * (1 + 3 + sum(_LOOKS)))
        self.motion = nn.Linear(language.hidden, POOLED_PATCHES * (2 + sum(_MOTIONS)))
        self.track = nn.Linear(language.hidden, POOLED_PATCHES * CONTEXT_FRAMES * 3)
        self.place = nn.Linear(language.hidden, patches)
        self.place_prompt = nn.Sequential(nn.Linear(patches, 256), nn.ReLU(), nn.Linear(256, prompt_width))
        self.place_code = nn.Linear(prompt_width, prompt_width)
        self.match = nn.Linear(language.hidden, POOLED_PATCHES)
        rows = torch.arange(patches)
        centres = torch.stack((rows % tower.grid, rows // tower.grid), 1).float().add(0.5) / tower.grid
        self.register_buffer("centres", centres, persistent=False)

    def teacher_prompt(self, cover: Tensor, sam: Any) -> Tensor:
        """The prompt that a sentence's true place makes: shares [..., patches] -> [..., D].

        SAM 2's own position code, averaged over the place, tells the decoder where to look from the first step on.
        """
        code = sam.sam_prompt_encoder.pe_layer.forward_with_coords(self.centres[None], (1, 1))[0].to(cover.dtype)
        mean = cover @ code / cover.sum(-1, keepdim=True).clamp(min=0.3)
        out: Tensor = self.place_prompt(3.0 * cover) + self.place_code(mean)
        return out

    def look_loss(self, tokens: Tensor, batch: Batch) -> Tensor:
        """The pooled tokens [V*F, T, hidden] must tell what each of their patches shows, and where its object is."""
        out = self.look(tokens).float()
        out = out.view(*batch.cover.shape[:3], -1)  # [V, F, patches, outputs]
        goal = patch_targets(batch.cover)
        loss = 2.0 * F.binary_cross_entropy_with_logits(out[..., 0], goal.share.clamp(0.0, 1.0))
        seen = goal.seen
        places = _per_patch(batch.places, goal)
        offset = torch.cat((places[..., :2] - self.centres, places[..., 2:] - 0.1), -1) * PLACE_SCALE
        loss = loss + F.smooth_l1_loss(out[..., 1:4][seen], offset[seen])
        looks = _per_patch(batch.looks[:, None].expand(-1, batch.cover.shape[1], -1, -1), goal)[seen]
        return loss + _classes(out[..., 4:][seen], looks, _LOOKS)

    def look_accuracy(self, tokens: Tensor, batch: Batch) -> dict[str, float]:
        """Share of patches with an object whose shape, colour, texture and size are told rightly."""
        goal = patch_targets(batch.cover)
        out = self.look(tokens).float().view(*batch.cover.shape[:3], -1)[..., 4:][goal.seen]
        looks = _per_patch(batch.looks[:, None].expand(-1, batch.cover.shape[1], -1, -1), goal)[goal.seen]
        shares = {}
        for i, part in enumerate(out.split(_LOOKS, -1)):
            known = looks[:, i] >= 0
            shares[LOOKS[i]] = float((part.argmax(-1) == looks[:, i])[known].float().mean())
        return shares

    def motion_loss(self, rows: Tensor, batch: Batch) -> Tensor:
        """Image rows of the query frames [V, S, 4, T, hidden] must tell how the objects on them move."""
        v, s = rows.shape[:2]
        out = self.motion(rows).float().view(v, s, 4, -1, 2 + sum(_MOTIONS))
        goal = patch_targets(batch.cover[:, 4:])
        seen = goal.seen[:, None].expand(v, s, -1, -1)
        speeds = _per_patch(batch.speeds[:, 4:], goal)[:, None].expand(v, s, -1, -1, -1)
        motions = _per_patch(batch.motions[:, None].expand(-1, 4, -1, -1), goal)[:, None].expand(v, s, -1, -1, -1)
        loss = F.smooth_l1_loss(out[..., :2][seen], speeds[seen] * SPEED_SCALE)
        return loss + _classes(out[..., 2:][seen], motions[seen], _MOTIONS)

    def track_loss(self, rows: Tensor, batch: Batch) -> Tensor:
        """Image rows of the query frames [V, S, 4, T, hidden] must tell where their objects are in the context frames.

        Whether each is in sight there, and where in sight, how far from here, in x and y.
        """
        v, s = rows.shape[:2]
        out = self.track(rows).float().view(v, s, 4, -1, CONTEXT_FRAMES, 3)
        goal = patch_targets(batch.cover[:, CONTEXT_FRAMES:])
        then, now = batch.places[:, :CONTEXT_FRAMES, :, :2], batch.places[:, CONTEXT_FRAMES:, :, :2]
        shift = (then[:, None] - now[:, :, None]).transpose(2, 3).flatten(3)  # [V, 4, objects, context frames * 2]
        sight = (batch.cover[:, :CONTEXT_FRAMES, :, 1:].sum(2) > 0.5).float()  # [V, context frames, objects]
        sight = sight.transpose(1, 2)[:, None].expand(-1, 4, -1, -1)
        shifts = _per_patch(shift, goal)[:, None].expand(v, s, -1, -1, -1)
        seen = goal.seen[:, None].expand(v, s, -1, -1)
        there = _per_patch(sight, goal)[:, None].expand(v, s, -1, -1, -1)[seen]
        found = out[seen]
        error = F.smooth_l1_loss(
            found[..., :2], shifts[seen].view(-1, CONTEXT_FRAMES, 2) * PLACE_SCALE, reduction="none"
        )
        wrong = F.binary_cross_entropy_with_logits(found[..., 2], there)
        return wrong + (error.sum(-1) * there).sum() / there.sum().clamp(min=1.0)

    def match_loss(self, rows: Tensor, cover: Tensor) -> Tensor:
        """Image rows that come after the sentence [N, 3, T, hidden] must tell whether it means them.

        In the first turn the image stands before the sentence; `cover` [N, 3, patches] is of the other three.
        """
        return coarse_loss(self.match(rows).float().flatten(2), cover)


def _per_patch(values: Tensor, goal: PatchTargets) -> Tensor:
    """Picks the owner's row: [V, F, objects, k] -> [V, F, patches, k]."""
    index = goal.owner[..., None].expand(*goal.owner.shape, values.shape[-1])
    return values.gather(2, index)


def _classes(logits: Tensor, targets: Tensor, sizes: tuple[int, ...]) -> Tensor:
    parts = torch.split(logits, list(sizes), -1)
    losses = [classes_loss(part, targets[..., i]) for i, part in enumerate(parts)]
    return torch.stack(losses).sum()


def masks_from_owners(owners: Tensor, targets: Tensor, side: int) -> Tensor:
    """Soft masks of sentences: owners [V, F, H, H], targets [V, S, 1 + objects] -> [V, S, F, side, side]."""
    v, f, h, _ = owners.shape
    labels = torch.arange(targets.shape[-1], dtype=owners.dtype)
    whole = (owners[:, :, None] == labels[:, None, None]).float()  # [V, F, objects, H, H]
    small = F.adaptive_avg_pool2d(whole.view(v * f, -1, h, h), side).view(v, f, -1, side * side)
    return torch.einsum("vso,vfop->vsfp", targets, small).view(v, targets.shape[1], f, side, side)
