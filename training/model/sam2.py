"""SAM 2's part of GLUS over a window of frames, differentiable through the memory bank."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

MEMORY_STRIDE = 3
MEMORY_SLOTS = 7


class ImageMaps(NamedTuple):
    """Hiera's features of some frames."""

    stride_4: Tensor  # [N, D/8, S/4, S/4] after conv_s0
    stride_8: Tensor  # [N, D/4, S/8, S/8] after conv_s1
    stride_16: Tensor  # [N, D, S/16, S/16]


class DecodedMasks(NamedTuple):
    """The mask decoder's output for one frame."""

    logits: Tensor  # [N, 4, S/4, S/4]: the single mask first, then the three alternatives
    predicted_iou: Tensor  # [N, 4] in 0..1
    object_score: Tensor  # [N, 1] logit


def memory_steps(step: int) -> list[int]:
    """Earlier steps whose memories step `step` attends to, oldest first: every third, and the one before."""
    wanted = [
        ((step - 2) // MEMORY_STRIDE) * MEMORY_STRIDE - (back - 2) * MEMORY_STRIDE
        for back in range(MEMORY_SLOTS, 1, -1)
    ]
    return [s for s in [*wanted, step - 1] if s >= 0]


def image_maps(sam: Any, pixels: Tensor) -> ImageMaps:
    """SAM pixels [N, 3, S, S] -> feature maps."""
    levels = sam.image_encoder(pixels)["backbone_fpn"]
    decoder = sam.sam_mask_decoder
    return ImageMaps(decoder.conv_s0(levels[0]), decoder.conv_s1(levels[1]), levels[2])


def _sine(module: Any, like: Tensor) -> Tensor:
    """The sine code of a map, as rows: [h*w, 1, channels]."""
    code: Tensor = module(like[:1])
    return code.flatten(2).permute(2, 0, 1).to(like.dtype)


def condition(sam: Any, feature: Tensor, memories: list[Tensor]) -> Tensor:
    """The stride-16 map after memory attention over slots [N, mem, h, w]; plus `no_mem_embed` when there are none."""
    if not memories:
        out: Tensor = feature + sam.no_mem_embed.view(1, -1, 1, 1).to(feature.dtype)
        return out
    n, d, h, w = feature.shape
    position = _sine(sam.image_encoder.neck.position_encoding, feature)
    slot = _sine(sam.memory_encoder.position_encoding, memories[0])
    rows = torch.cat([m.flatten(2).permute(2, 0, 1) for m in memories])  # [slots*h*w, N, mem]
    attended = sam.memory_attention(
        curr=feature.flatten(2).permute(2, 0, 1),
        curr_pos=position.expand(-1, n, -1),
        memory=rows,
        memory_pos=slot.repeat(len(memories), 1, 1).expand(-1, n, -1),
        num_obj_ptr_tokens=0,
    )
    conditioned: Tensor = attended.permute(1, 2, 0).reshape(n, d, h, w)
    return conditioned


def decode(sam: Any, conditioned: Tensor, maps: ImageMaps, prompt: Tensor) -> DecodedMasks:
    """All four masks for prompts [N, D]."""
    encoder = sam.sam_prompt_encoder
    n, _, h, w = conditioned.shape
    dense = encoder.no_mask_embed.weight.view(1, -1, 1, 1).expand(n, -1, h, w)
    logits, iou, _, score = sam.sam_mask_decoder.predict_masks(
        image_embeddings=conditioned,
        image_pe=encoder.get_dense_pe(),
        sparse_prompt_embeddings=prompt[:, None],
        dense_prompt_embeddings=dense,
        repeat_image=False,
        high_res_features=[maps.stride_4, maps.stride_8],
    )
    return DecodedMasks(logits.float(), iou.float(), score.float())


def chosen_mask(masks: DecodedMasks) -> tuple[Tensor, Tensor]:
    """Evaluation's choice: mask 0, or the best alternative when mask 0 is unstable. Logits [N, 1, h, w], IoU [N]."""
    single = masks.logits[:, 0].flatten(1)
    high, low = (single > 0.05).sum(1).float(), (single > -0.05).sum(1).float()
    stable = torch.where(low > 0, high / low.clamp(min=1.0), torch.ones_like(low)) >= 0.98
    best = masks.predicted_iou[:, 1:].argmax(1) + 1
    index = torch.where(stable, torch.zeros_like(best), best)
    rows = torch.arange(len(index))
    return masks.logits[rows, index][:, None], masks.predicted_iou[rows, index]


def remember(sam: Any, conditioned: Tensor, logits: Tensor) -> Tensor:
    """One memory slot from the conditioned map and mask logits [N, 1, S/4, S/4]: [N, mem, h, w]."""
    size = (sam.image_size, sam.image_size)
    full = F.interpolate(logits, size, mode="bilinear", align_corners=False)
    full = full.sigmoid() * sam.sigmoid_scale_for_mem_enc + sam.sigmoid_bias_for_mem_enc
    slot: Tensor = sam.memory_encoder(conditioned, full, skip_mask_sigmoid=True)["vision_features"]
    return slot


def run_window(
    sam: Any, maps: ImageMaps, rows: Tensor, prompts: Tensor, *, training: bool, memory: bool = True
) -> list[DecodedMasks]:
    """Consecutive frames of many sentences.

    Args:
        sam: SAM2Base.
        maps: of all frames of the batch's videos, [videos * frames, ...], frame-minor.
        rows: index into `maps` for each sentence and frame, [N, frames].
        prompts: segment embeddings, [N, frames, D].
        training: memories keep mask 0; evaluation keeps the chosen mask.
        memory: whether frames remember those before them.
    """
    bank: list[Tensor] = []
    out: list[DecodedMasks] = []
    for step in range(rows.shape[1]):
        here = ImageMaps(*(level[rows[:, step]] for level in maps))
        conditioned = condition(sam, here.stride_16, [bank[s] for s in memory_steps(step)] if memory else [])
        masks = decode(sam, conditioned, here, prompts[:, step])
        out.append(masks)
        if memory and step + 1 < rows.shape[1]:
            bank.append(remember(sam, conditioned, masks.logits[:, :1] if training else chosen_mask(masks)[0]))
    return out
