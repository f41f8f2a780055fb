"""The last stage: [SCORE] learns how good the model's own mask of a frame is, everything else at rest.

A frame is asked about as the first of a run is: behind the context frames alone, with an empty memory, for that is what a
key frame is. The IoU of its mask with the truth is what [SCORE], put in the place of [SEG], is to say (L1).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glus_edge.training.data.batch import CONTEXT_FRAMES, Batch
from glus_edge.training.learner import Learner
from glus_edge.training.model.heads import masks_from_owners
from glus_edge.training.model.losses import iou_from_logits
from glus_edge.training.model.network import sam_pixels
from glus_edge.training.model.prompt import attention_mask, turn_sequences
from glus_edge.training.model.sam2 import ImageMaps, chosen_mask, condition, decode, image_maps
from glus_edge.training.steps import embedded_rows, run_context, tower_pass

QUERY_FRAMES = 4
LEAST_DIFFERENCE = 0.1  # of IoU, from which on the order of two frames counts


class FrameScores(NamedTuple):
    """Frames asked one by one, [N, 4]: N sentences, four frames each."""

    score: Tensor  # what [SCORE] says
    iou: Tensor  # of the model's own mask with the truth


def score_frames(learner: Learner, batch: Batch) -> FrameScores:
    """Every query frame of a batch as a key frame. Gradients reach the score head and the token's embedding alone."""
    glus = learner.glus
    v, s = batch.targets.shape[:2]
    with torch.no_grad():
        tokens = tower_pass(learner, batch, frozen=True)
        image = glus.model.mm_projector(tokens)
        context = run_context(learner, image)
        length = context[0][0].shape[2]
        past = [tuple(part.repeat_interleave(s * QUERY_FRAMES, 0) for part in layer) for layer in context]
        texts = [text for of_video in batch.texts for text in of_video for _ in range(QUERY_FRAMES)]
        turns = turn_sequences(learner.tokenizer, texts, tokens.shape[2], turns=1)
        frame = torch.arange(v * QUERY_FRAMES).view(v, 1, QUERY_FRAMES).expand(v, s, QUERY_FRAMES).reshape(-1)
        rows = embedded_rows(glus, image[:, CONTEXT_FRAMES:].flatten(0, 1)[:, None], turns.ids, frame)
        mask = attention_mask(turns, length, rows.dtype)
        states = glus.run_language(rows, turns.positions + length, mask, [(k, w) for k, w in past])
        index = torch.arange(len(rows))
        prompts = glus.segment_embedding(states.final[index, turns.open_rows[:, 0]])
        iou = _own_iou(learner, batch, prompts.float(), frame)
        learner.score.begin(glus.model.embed_tokens.weight[turns.ids[0, turns.open_rows[0, 0]]])
    # [SCORE] stands where the open end does, and sees what that sees: the row itself is all that is computed anew.
    seen = mask.gather(2, turns.open_rows[:, None, :, None].expand(-1, 1, -1, mask.shape[-1]))
    seen[index, 0, 0, length + turns.open_rows[:, 0]] = torch.finfo(seen.dtype).min
    own = torch.zeros(*seen.shape[:3], 1, dtype=seen.dtype)
    joined = [(torch.cat((pk, k), 2), torch.cat((pw, w), 2)) for (pk, pw), (k, w) in zip(past, states.own, strict=True)]
    row = learner.score.embedding.to(rows.dtype).expand(len(rows), 1, -1)
    positions = turns.positions.gather(1, turns.open_rows) + length
    with _frozen(glus):
        hidden = glus.run_language(row, positions, torch.cat((seen, own), 3), joined).final[:, 0]
    return FrameScores(learner.score(hidden).float().view(v * s, QUERY_FRAMES), iou.view(v * s, QUERY_FRAMES))


def _own_iou(learner: Learner, batch: Batch, prompts: Tensor, frame: Tensor) -> Tensor:
    """IoU of the first masks of a run, [N * 4]."""
    sam = learner.sam
    pixels = sam_pixels(batch.frames[:, CONTEXT_FRAMES:].flatten(0, 1), sam.image_size)
    maps = ImageMaps(*(level[frame] for level in image_maps(sam, pixels)))
    logits, _ = chosen_mask(decode(sam, condition(sam, maps.stride_16, []), maps, prompts))
    goal = masks_from_owners(batch.owners, batch.targets, logits.shape[-1]).flatten(0, 2)
    return iou_from_logits(logits[:, 0].flatten(1), goal.flatten(1))


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """What is computed within gives the module's parameters no gradients."""
    live = [p for p in module.parameters() if p.requires_grad]
    for p in live:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in live:
            p.requires_grad_(True)


def score_step(learner: Learner, batch: Batch) -> dict[str, Tensor]:
    """The stage's loss."""
    scored = score_frames(learner, batch)
    return {"score": F.l1_loss(scored.score, scored.iou)}


@torch.no_grad()
def validate_scores(learner: Learner, batches: list[Batch]) -> dict[str, float]:
    """How near scores are to the true IoU, how often they put two frames in the right order, and what choosing brings."""
    steps = learner.score.steps.clone()
    scored = [score_frames(learner, batch) for batch in batches]
    learner.score.steps.copy_(steps)
    score, iou = torch.cat([each.score for each in scored]), torch.cat([each.iou for each in scored])
    first, second = torch.triu_indices(QUERY_FRAMES, QUERY_FRAMES, 1)
    gap = iou[:, first] - iou[:, second]
    told = (score[:, first] - score[:, second])[gap.abs() > LEAST_DIFFERENCE]
    right = told.sign() == gap[gap.abs() > LEAST_DIFFERENCE].sign()
    chosen = iou.gather(1, score.argmax(1, keepdim=True))
    return {
        "score/agreement": 1.0 - float((score - iou).abs().mean()),
        "score/order": float(right.float().mean()) if len(right) else 0.5,
        "score/first_iou": float(iou[:, 0].mean()),
        "score/chosen_iou": float(chosen.mean()),
    }
