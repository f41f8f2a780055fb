"""How well a window of four query frames is grounded and outlined, per kind of sentence, in torch."""

from collections import defaultdict

import torch

from glus_edge.training.data.batch import Batch, Mix, make_batch
from glus_edge.training.learner import Learner
from glus_edge.training.model.heads import masks_from_owners
from glus_edge.training.model.losses import iou_from_logits
from glus_edge.training.model.sam2 import chosen_mask
from glus_edge.training.steps import run_language, run_masks, target_cover, tower_pass

VALIDATION_SEED = 2**43
VALIDATION_MIX = Mix(
    videos=6, sentences=6, shares=(("appearance", 0.3), ("relation", 0.2), ("motion", 0.35), ("none", 0.15))
)


def validation_batches(count: int) -> list[Batch]:
    """The same batches every time, of seeds that no stage of training comes to."""
    return [make_batch(VALIDATION_SEED + i, VALIDATION_MIX) for i in range(count)]


@torch.no_grad()
def validate(learner: Learner, batches: list[Batch], stage: str) -> dict[str, float]:
    """Mean IoU per kind: `place/*` of the coarse grid at the open ends, `mask/*` of the chosen masks.

    The stage "tower" is judged by how many patches' looks it tells ("look/*"); in the stage "masks" the masks are
    prompted with the truth; in "ground" none are made.
    """
    found: dict[str, list[float]] = defaultdict(list)
    for batch in batches:
        cover = target_cover(batch)
        kinds = [kind for kinds in batch.kinds for kind in kinds]
        if stage != "masks":
            tokens = tower_pass(learner, batch, frozen=True)
            for name, share in learner.heads.look_accuracy(tokens.flatten(0, 1), batch).items():
                found[f"look/{name}"].append(share)
        if stage == "tower":
            continue
        if stage == "masks":
            prompts = learner.heads.teacher_prompt(cover, learner.sam)
        else:
            out = run_language(learner, batch, tokens)
            place = iou_from_logits(learner.heads.place(out.open_hidden).float(), cover)
            _collect(found, "place", place, kinds)
            prompts = learner.glus.segment_embedding(out.open_hidden)
        if stage != "ground":
            masks = run_masks(learner, batch, prompts.to(torch.float32), training=False)
            goal = masks_from_owners(batch.owners, batch.targets, learner.sam.image_size // 4).flatten(0, 1)
            logits = torch.stack([chosen_mask(m)[0][:, 0] for m in masks], 1)
            _collect(found, "mask", iou_from_logits(logits.flatten(2), goal.flatten(2)), kinds)
    return {name: sum(values) / len(values) for name, values in sorted(found.items())}


def _collect(found: dict[str, list[float]], name: str, iou: torch.Tensor, kinds: list[str]) -> None:
    for row, kind in zip(iou.mean(1).tolist(), kinds, strict=True):
        found[f"{name}/{kind}"].append(row)
        if kind != "none":
            found[f"{name}/all"].append(row)
