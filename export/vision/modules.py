"""The five traced graphs as torch modules: what is exported, what parity is measured against, and the eager baseline."""

from dataclasses import dataclass

import torch
from torch import nn

from glus_edge.export.checkpoint.checkpoint import Checkpoint
from glus_edge.export.checkpoint.sam2_config import sam2_config
from glus_edge.export.checkpoint.tensor_names import SCORE_PREFIX, check_tensors, language_shapes, score_shapes
from glus_edge.export.checkpoint.vision_tower import VisionTower
from glus_edge.export.vision.clip_encoder import ClipEncoder
from glus_edge.export.vision.dimensions import Sam2Sizes, model_dimensions
from glus_edge.export.vision.image_encoder import ImageEncoder
from glus_edge.export.vision.layers import in_dtype
from glus_edge.export.vision.mask_decoder import MaskDecoder
from glus_edge.export.vision.memory_attention import MemoryAttention
from glus_edge.export.vision.memory_encoder import MemoryEncoder
from glus_edge.export.vision.sam2_model import PREFIX, UNUSED_PREFIXES, build_sam2, load_weights
from glus_edge.runtime.bundle.manifest import ImageSettings
from glus_edge.runtime.bundle.signatures import ModelDimensions
from glus_edge.runtime.errors import CheckpointError
from glus_edge.runtime.pixels.normalization import SAM_MEAN, SAM_STD

# A vision tower saved along with the language model is the stock one, frozen; the folder given is used instead.
TOLERATED = ("model.vision_tower.", *(PREFIX + name for name in UNUSED_PREFIXES))


@dataclass(frozen=True)
class TorchModules:
    """The modules of one model, float32, in evaluation mode, and the sizes that follow from them."""

    dimensions: ModelDimensions
    clip_image: ImageSettings
    sam_image: ImageSettings
    clip_encoder: ClipEncoder
    image_encoder: ImageEncoder
    memory_attention: MemoryAttention
    mask_decoder: MaskDecoder
    memory_encoder: MemoryEncoder

    def graphs(self) -> dict[str, nn.Module]:
        """The modules by the names of their graphs."""
        return {
            "clip_encoder": self.clip_encoder,
            "image_encoder": self.image_encoder,
            "memory_attention": self.memory_attention,
            "mask_decoder": self.mask_decoder,
            "memory_encoder": self.memory_encoder,
        }

    def release(self) -> None:
        """Lets go of the weights; the modules cannot run any more."""
        for module in self.graphs().values():
            module.to("meta")

    def in_dtype(self, dtype: torch.dtype) -> dict[str, nn.Module]:
        """Copies that compute in `dtype`, for a half-precision export or an eager run."""
        return {name: in_dtype(module, dtype).requires_grad_(False) for name, module in self.graphs().items()}


def load_modules(
    checkpoint: Checkpoint, tower: VisionTower, sam2_name: str, reference_gamma: bool = False
) -> TorchModules:
    """Builds the five modules with the weights of a checkpoint.

    Checks every tensor of the checkpoint first, the language model's too. Raises CheckpointError where checkpoint,
    vision tower and SAM 2 configuration do not belong together.
    """
    config = checkpoint.config
    if tower.config.width != config.vision_width:
        raise CheckpointError(
            f"vision tower {tower.weights.folder}: got width {tower.config.width}, expected mm_hidden_size "
            f"{config.vision_width} of {checkpoint.folder / 'config.json'}; give the tower the checkpoint was trained with"
        )
    sam2 = build_sam2(sam2_config(sam2_name))
    if sam2.hidden_dim != config.segment_width:
        raise CheckpointError(
            f"SAM 2 configuration {sam2_name}: got d_model {sam2.hidden_dim}, expected out_dim {config.segment_width} "
            f"of {checkpoint.folder / 'config.json'}"
        )
    segmenter = {PREFIX + name: tuple(tensor.shape) for name, tensor in sam2.state_dict().items()}
    scores_frames = any(name.startswith(SCORE_PREFIX) for name in checkpoint.names())
    language = language_shapes(config) | (score_shapes(config) if scores_frames else {})
    check_tensors(checkpoint, language | segmenter, TOLERATED)
    load_weights(sam2, checkpoint, reference_gamma)
    sam2.requires_grad_(False)
    dimensions = model_dimensions(
        tower.config, config, Sam2Sizes(sam2.image_size, sam2.hidden_dim, sam2.mem_dim), scores_frames
    )
    return TorchModules(
        dimensions=dimensions,
        clip_image=tower.image,
        sam_image=ImageSettings(sam2.image_size, SAM_MEAN, SAM_STD),
        clip_encoder=ClipEncoder.load(tower, checkpoint).requires_grad_(False),
        image_encoder=ImageEncoder(sam2),
        memory_attention=MemoryAttention(sam2),
        mask_decoder=MaskDecoder(sam2),
        memory_encoder=MemoryEncoder(sam2),
    )
