"""memory_encoder: what was seen and where the mask lay becomes one memory slot."""

from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor, nn
from torch.nn import functional

from glus_edge.export.vision.layers import with_export_layers

MASK_STRIDE = 4.0  # of the decoder's logits; memories are made from masks of the image's full size


class MemoryEncoder(nn.Module):
    """`forward` is the signature of the graph.

    NOTE: GLUS encodes the memory-conditioned features, those the decoder saw, where SAM 2 takes the encoder's own.
    """

    def __init__(self, sam2: SAM2Base) -> None:
        super().__init__()
        stock = sam2.memory_encoder
        self.scale: float = sam2.sigmoid_scale_for_mem_enc
        self.bias: float = sam2.sigmoid_bias_for_mem_enc
        self.mask_downsampler, self.fuser = stock.mask_downsampler, stock.fuser
        self.pix_feat_proj, self.out_proj = stock.pix_feat_proj, stock.out_proj
        with_export_layers(self)

    def forward(self, conditioned_features: Tensor, mask_logits: Tensor) -> Tensor:
        """[B, d_model, h, w] and [B, 1, S/4, S/4] float32 to memory_slot [B, memory channels, h, w]."""
        # As a factor, which is a constant of the graph where a size would be computed from the batch's shape.
        mask = functional.interpolate(mask_logits, scale_factor=MASK_STRIDE, mode="bilinear", align_corners=False)
        mask = (mask.sigmoid() * self.scale + self.bias).to(conditioned_features.dtype)
        slot: Tensor = self.out_proj(self.fuser(self.pix_feat_proj(conditioned_features) + self.mask_downsampler(mask)))
        return slot
