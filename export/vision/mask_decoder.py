"""mask_decoder: the segment embedding points at an object, the decoder draws it."""

from typing import NamedTuple

import torch
from sam2.modeling.sam.mask_decoder import MaskDecoder as StockMaskDecoder
from sam2.modeling.sam.transformer import Attention
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor, nn

from glus_edge.export.vision.layers import FusedHeads, with_export_layers

# The reference builds SAM 2 with these, whatever the configuration says (sam2.build_sam.build_sam2).
STABILITY_DELTA = 0.05
STABILITY_THRESHOLD = 0.98


class MaskPrediction(NamedTuple):
    """Outputs of the graph, in its order."""

    mask_logits: Tensor  # [B, 1, S/4, S/4] float32, the chosen mask
    predicted_iou: Tensor  # [B] float32, of the chosen mask
    selected_mask: Tensor  # [B] int32: 0 the single mask, 1..3 the best of the others
    all_mask_logits: Tensor  # [B, 4, S/4, S/4] float32
    all_predicted_iou: Tensor  # [B, 4] float32
    object_score: Tensor  # [B] float32


class MaskDecoder(nn.Module):
    """`forward` is the signature of the graph. The segment embedding is the only prompt token."""

    dense_positions: Tensor
    no_mask: Tensor
    output_tokens: Tensor

    def __init__(self, sam2: SAM2Base) -> None:
        super().__init__()
        stock: StockMaskDecoder = sam2.sam_mask_decoder
        self.transformer = stock.transformer
        self.upscaling = stock.output_upscaling
        self.hypernetworks = stock.output_hypernetworks_mlps
        self.iou_head, self.object_head = stock.iou_prediction_head, stock.pred_obj_score_head
        for parent in list(self.transformer.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, Attention):
                    setattr(parent, name, FusedHeads(child))
        with_export_layers(self)
        with torch.no_grad():
            tokens = torch.cat((stock.obj_score_token.weight, stock.iou_token.weight, stock.mask_tokens.weight))
            self.register_buffer("output_tokens", tokens[None].clone())  # [1, 6, d_model]
            self.register_buffer("dense_positions", sam2.sam_prompt_encoder.get_dense_pe())
            no_mask = sam2.sam_prompt_encoder.no_mask_embed.weight
            self.register_buffer("no_mask", no_mask.reshape(1, -1, 1, 1).clone())

    def forward(
        self,
        conditioned_features: Tensor,
        features_stride_8: Tensor,
        features_stride_4: Tensor,
        segment_embedding: Tensor,
    ) -> MaskPrediction:
        """[B, d_model, h, w], the two finer maps of batch 1, and [B, d_model] float32 to masks."""
        prompt = segment_embedding.to(self.output_tokens.dtype).unsqueeze(1)
        tokens = torch.cat((self.output_tokens.expand(prompt.shape[0], -1, -1), prompt), 1)
        grid = conditioned_features.shape[-1]
        decoded, image = self.transformer(conditioned_features + self.no_mask, self.dense_positions, tokens)
        image = image.transpose(1, 2).unflatten(2, (grid, grid))
        first, norm, activation, second, last_activation = self.upscaling
        image = activation(norm(first(image) + features_stride_8))
        image = last_activation(second(image) + features_stride_4)
        weights = [network(decoded[:, 2 + mask]) for mask, network in enumerate(self.hypernetworks)]
        # In float32: logits decide at zero, and at +-0.05 in the stability rule.
        masks = (torch.stack(weights, 1).float() @ image.flatten(2).float()).unflatten(2, (4 * grid, 4 * grid))
        ious = self.iou_head(decoded[:, 1]).float()
        selected, chosen, iou = select_mask(masks, ious)
        return MaskPrediction(chosen, iou, selected, masks, ious, self.object_head(decoded[:, 0]).float().squeeze(1))


class SelectedMask(NamedTuple):
    """What the stability rule chose."""

    number: Tensor  # [B] int32
    logits: Tensor  # [B, 1, H, W]
    iou: Tensor  # [B]


def select_mask(masks: Tensor, ious: Tensor) -> SelectedMask:
    """Mask 0 where it is stable, else the one of 1..3 with the highest predicted IoU.

    Stability is the ratio of the areas above +delta and -delta (sam2.modeling.sam.mask_decoder, 1 where the larger is
    empty). masks: [B, 4, H, W]; ious: [B, 4].
    """
    single = masks[:, 0].flatten(1)
    inner = (single > STABILITY_DELTA).float().sum(1)
    outer = (single > -STABILITY_DELTA).float().sum(1)
    stability = torch.where(outer > 0, inner / outer.clamp(min=1.0), 1.0)
    best = ious[:, 1:].argmax(1) + 1
    index = torch.where(stability >= STABILITY_THRESHOLD, 0, best)
    # Chains of Where rather than gathers along the batch: plain elementwise for every engine.
    logits, iou = masks[:, 3:4], ious[:, 3]
    for mask in (2, 1, 0):
        is_mask = index == mask
        logits = torch.where(is_mask[:, None, None, None], masks[:, mask : mask + 1], logits)
        iou = torch.where(is_mask, ious[:, mask], iou)
    return SelectedMask(index.int(), logits, iou)
