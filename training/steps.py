"""What one training step computes in each stage."""

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from glus_edge.training.data.batch import CONTEXT_FRAMES, Batch
from glus_edge.training.learner import Learner
from glus_edge.training.model.heads import masks_from_owners
from glus_edge.training.model.language import KeyValue, rotate, rotation_from_positions
from glus_edge.training.model.losses import coarse_loss, mask_loss, pointer_loss
from glus_edge.training.model.network import Glus, LanguageStates, clip_pixels, sam_pixels, tower_tokens
from glus_edge.training.model.prompt import IGNORED, Turns, attention_mask, prefix_ids, turn_sequences
from glus_edge.training.model.sam2 import DecodedMasks, image_maps, run_window

TRACK_LAYER = 1  # the layer after which image rows are asked where their objects are in the context frames
MOTION_LAYER = 2  # the layer after which image rows are asked about motion
POINTER_LAYERS = (2, 3)  # layers, from 0, whose first head is taught to look at what the sentence means
MATCH_LAYER = 3  # and the one after which they are asked whether the sentence means them


@dataclass(frozen=True)
class LanguageOutput:
    """Hidden states of a batch of N = V * S windows."""

    open_hidden: Tensor  # [N, 4, hidden] at the open ends
    answered_hidden: Tensor  # [N, 4, hidden] before [SEG] in answered turns
    track_rows: Tensor  # [N, 4, T, hidden] of the query frames' images, after layer `TRACK_LAYER`
    motion_rows: Tensor  # the same after layer `MOTION_LAYER`
    match_rows: Tensor  # the same after layer `MATCH_LAYER`
    pointers: Tensor  # [N, 4, layers, T] attention logits of one head per layer, open end -> its frame's image rows
    text_loss: Tensor


def run_language(learner: Learner, batch: Batch, tokens: Tensor) -> LanguageOutput:
    """One pass over all windows; the context frames are passed once per video and shared by its sentences.

    Args:
        learner: the model.
        batch: V videos with S sentences each.
        tokens: the tower's pooled tokens, [V, F, T, tower hidden].
    """
    glus, tokenizer = learner.glus, learner.tokenizer
    v, _, t, _ = tokens.shape
    s = len(batch.texts[0])
    image = glus.model.mm_projector(tokens)  # [V, F, T, hidden]
    context = run_context(learner, image)
    length = context[0][0].shape[2]
    past = [(k.repeat_interleave(s, 0), w.repeat_interleave(s, 0)) for k, w in context]
    turns = turn_sequences(tokenizer, [text for texts in batch.texts for text in texts], t)
    rows = embedded_rows(glus, image[:, CONTEXT_FRAMES:], turns.ids, torch.arange(v).repeat_interleave(s))
    mask = attention_mask(turns, length, rows.dtype)
    states = glus.run_language(rows, turns.positions + length, mask, past)
    hidden = states.final
    return LanguageOutput(
        open_hidden=_pick(hidden, turns.open_rows),
        answered_hidden=_pick(hidden, turns.answered_rows),
        track_rows=_image_rows(states.layers[TRACK_LAYER - 1], turns, t),
        motion_rows=_image_rows(states.layers[MOTION_LAYER - 1], turns, t),
        match_rows=_image_rows(states.layers[MATCH_LAYER - 1], turns, t),
        pointers=_pointers(glus, states, turns, length, t),
        text_loss=_text_loss(glus, hidden, turns),
    )


def run_context(learner: Learner, image: Tensor) -> list[KeyValue]:
    """Keys and values of what every prompt of a video begins with; `image` [V, F, T, hidden], context frames first."""
    v, _, t, _ = image.shape
    prefix = torch.from_numpy(prefix_ids(learner.tokenizer, t, context=learner.ablation.context))
    rows = embedded_rows(learner.glus, image[:, :CONTEXT_FRAMES], prefix.expand(v, -1), torch.arange(v))
    return learner.glus.run_language(rows, torch.arange(rows.shape[1])[None], None, None).own


def embedded_rows(glus: Glus, image: Tensor, ids: Tensor, video: Tensor) -> Tensor:
    """Embeds ids [N, R]; negative ones are image tokens -(1 + index) of the row's video: [N, R, hidden]."""
    table = glus.model.embed_tokens.weight.to(image.dtype)
    per_video = image.shape[1] * image.shape[2]
    index = torch.where(ids >= 0, ids, len(table) + video[:, None] * per_video - ids - 1)
    return F.embedding(index, torch.cat((table, image.flatten(0, 2))))


def _pointers(glus: Glus, states: LanguageStates, turns: Turns, prefix: int, tokens: int) -> Tensor:
    """Where the first head of the last layers looks from each open end, among the image rows of the same turn."""
    n, count = turns.open_rows.shape
    size = glus.sizes.hidden // glus.sizes.heads
    image = (turns.ids < 0).nonzero()[:, 1].view(n, count * tokens)
    positions = turns.positions.gather(1, turns.open_rows) + prefix
    out = []
    for number in POINTER_LAYERS:
        layer: Any = glus.model.layers[number]
        rows = layer.input_layernorm(_pick(states.layers[number - 1], turns.open_rows))
        query = layer.self_attn.q_proj(rows)[..., :size][:, None]  # [N, 1, turns, size]
        query = rotate(query, rotation_from_positions(positions, size, query.dtype))[:, 0]
        key = _pick(states.own[number][0][:, 0], image).view(n, count, tokens, size)
        out.append((query[:, :, None] * key).sum(-1) * size**-0.5)
    return torch.stack(out, 2).float()


def _pick(hidden: Tensor, rows: Tensor) -> Tensor:
    return hidden.gather(1, rows[..., None].expand(-1, -1, hidden.shape[-1]))


def _image_rows(hidden: Tensor, turns: Turns, tokens: int) -> Tensor:
    rows = (turns.ids < 0).nonzero()[:, 1].view(len(hidden), -1)
    return _pick(hidden, rows).view(len(hidden), -1, tokens, hidden.shape[-1])


def _text_loss(glus: Glus, hidden: Tensor, turns: Turns) -> Tensor:
    wanted = turns.labels != IGNORED
    return F.cross_entropy(glus.lm_head(hidden[wanted]).float(), turns.labels[wanted])


def tower_pass(learner: Learner, batch: Batch, *, frozen: bool) -> Tensor:
    """Pooled tokens of all frames, [V, F, T, tower hidden]."""
    v, f = batch.frames.shape[:2]
    with torch.set_grad_enabled(not frozen and torch.is_grad_enabled()):
        tokens = tower_tokens(learner.tower, clip_pixels(batch.frames.flatten(0, 1), learner.sizes))
    return tokens.view(v, f, *tokens.shape[1:])


def target_cover(batch: Batch) -> Tensor:
    """Share of each patch that a sentence's objects cover in the query frames, [N, 4, patches]."""
    return torch.einsum("vso,vfpo->vsfp", batch.targets, batch.cover[:, CONTEXT_FRAMES:]).flatten(0, 1)


def run_masks(learner: Learner, batch: Batch, prompts: Tensor, *, training: bool) -> list[DecodedMasks]:
    """The masks of the four query frames for prompts [N, 4, D]."""
    v, s = batch.targets.shape[:2]
    frames = batch.frames[:, CONTEXT_FRAMES:]
    maps = image_maps(learner.sam, sam_pixels(frames.flatten(0, 1), learner.sam.image_size))
    rows = torch.arange(v * 4).view(v, 1, 4).expand(v, s, 4).reshape(v * s, 4)
    return run_window(learner.sam, maps, rows, prompts, training=training, memory=learner.ablation.memory)


def masks_loss(learner: Learner, batch: Batch, outputs: list[DecodedMasks]) -> Tensor:
    """The mean mask loss over the four query frames."""
    side = learner.sam.image_size // 2
    goal = masks_from_owners(batch.owners, batch.targets, side).flatten(0, 1)
    return torch.stack([mask_loss(out, goal[:, f]) for f, out in enumerate(outputs)]).mean()


def groups_of(batch: Batch) -> Tensor:
    """A number per row of [N * 4]: equal where sentences mean the same objects in the same frame."""
    v, _, objects = batch.targets.shape
    code: Tensor = (batch.targets * 2.0 ** torch.arange(objects)).sum(-1).long()  # [V, S]
    code = code + torch.arange(v)[:, None] * 2**objects
    return (code.flatten()[:, None] * 4 + torch.arange(4)).flatten()


def tower_step(learner: Learner, batch: Batch) -> dict[str, Tensor]:
    """The tower's school: its pooled tokens tell what every patch shows."""
    tokens = tower_pass(learner, batch, frozen=False)
    return {"look": learner.heads.look_loss(tokens.flatten(0, 1), batch)}


def masks_step(learner: Learner, batch: Batch) -> dict[str, Tensor]:
    """SAM 2's school: it follows prompts made from the true place, and its memory."""
    prompts = learner.heads.teacher_prompt(target_cover(batch), learner.sam)
    return {"mask": masks_loss(learner, batch, run_masks(learner, batch, prompts, training=True))}


def _grounding(learner: Learner, batch: Batch, out: LanguageOutput) -> dict[str, Tensor]:
    cover = target_cover(batch)
    videos = batch.targets.shape[:2]
    place = learner.heads.place
    losses = {
        "text": 0.3 * out.text_loss,
        "place": coarse_loss(place(out.open_hidden).float(), cover)
        + 0.5 * coarse_loss(place(out.answered_hidden).float(), cover),
        "motion": 0.4 * learner.heads.motion_loss(out.motion_rows.view(*videos, *out.motion_rows.shape[1:]), batch),
        "point": pointer_loss(out.pointers, cover),
        "match": learner.heads.match_loss(out.match_rows[:, 1:], cover[:, 1:]),
    }
    if learner.ablation.context:
        rows = out.track_rows.view(*videos, *out.track_rows.shape[1:])
        losses["track"] = 0.5 * learner.heads.track_loss(rows, batch)
    return losses


def _contrast(learner: Learner, batch: Batch, prompts: Tensor) -> dict[str, Tensor]:
    if not learner.ablation.contrast:
        return {}
    return {"contrast": 0.1 * learner.contrast.loss(prompts.flatten(0, 1), groups_of(batch))}


def ground_step(learner: Learner, batch: Batch) -> dict[str, Tensor]:
    """The language model learns to find; its segment embedding learns to be the prompt SAM 2 already follows."""
    # The tower rests: a batch of few videos shows too few objects, and would spoil what it learned from many.
    out = run_language(learner, batch, tower_pass(learner, batch, frozen=True))
    losses = _grounding(learner, batch, out)
    prompts = learner.glus.segment_embedding(out.open_hidden).float()
    with torch.no_grad():
        wanted = learner.heads.teacher_prompt(target_cover(batch), learner.sam).float()
    losses["prompt"] = F.smooth_l1_loss(prompts, wanted)
    return losses | _contrast(learner, batch, prompts)


def joint_step(learner: Learner, batch: Batch) -> dict[str, Tensor]:
    """The paper's losses end to end through the memory bank, the coarse ones kept as a guide.

    Of every video's sentences half get masks, other ones each time: that halves SAM 2's work, which is most of a step.
    """
    out = run_language(learner, batch, tower_pass(learner, batch, frozen=True))
    losses = {name: 0.5 * loss for name, loss in _grounding(learner, batch, out).items()}
    prompts = learner.glus.segment_embedding(out.open_hidden)
    v, s = batch.targets.shape[:2]
    some = torch.randperm(s)[: max(s // 2, 1)]
    masked = replace(batch, targets=batch.targets[:, some])
    asked = prompts.view(v, s, *prompts.shape[1:])[:, some].flatten(0, 1)
    losses["mask"] = masks_loss(learner, masked, run_masks(learner, masked, asked, training=True))
    return losses | _contrast(learner, batch, prompts)


STEPS = {"tower": tower_step, "masks": masks_step, "ground": ground_step, "joint": joint_step}
