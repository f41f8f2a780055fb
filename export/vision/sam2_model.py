"""Stock SAM 2 modules built from a configuration tree, with the weights of `model.visual_model` of a checkpoint."""

from typing import Any

import numpy as np
import torch
from sam2.modeling.backbones.hieradet import Hiera
from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
from sam2.modeling.memory_attention import MemoryAttention, MemoryAttentionLayer
from sam2.modeling.memory_encoder import CXBlock, Fuser, MaskDownSampler, MemoryEncoder
from sam2.modeling.position_encoding import PositionEmbeddingSine
from sam2.modeling.sam.transformer import RoPEAttention
from sam2.modeling.sam2_base import SAM2Base

from glus_edge.export.checkpoint.checkpoint import Checkpoint
from glus_edge.export.checkpoint.finite import check_finite
from glus_edge.runtime.errors import CheckpointError

PREFIX = "model.visual_model."
# NOTE: the classes themselves, not a prefix of names: `sam2.modeling.sam2_base.torch.load` begins like one of them.
CLASSES: dict[str, type[torch.nn.Module]] = {
    f"{kind.__module__}.{kind.__name__}": kind
    for kind in (
        SAM2Base,
        ImageEncoder,
        Hiera,
        FpnNeck,
        PositionEmbeddingSine,
        MemoryAttention,
        MemoryAttentionLayer,
        RoPEAttention,
        MemoryEncoder,
        MaskDownSampler,
        Fuser,
        CXBlock,
    )
}
# What each part must be: the constructors of SAM 2 take anything.
PARTS: dict[str, type[torch.nn.Module]] = {
    "image_encoder": ImageEncoder,
    "image_encoder.trunk": Hiera,
    "image_encoder.neck": FpnNeck,
    "image_encoder.neck.position_encoding": PositionEmbeddingSine,
    "memory_attention": MemoryAttention,
    "memory_attention.layers.0": MemoryAttentionLayer,
    "memory_encoder": MemoryEncoder,
    "memory_encoder.position_encoding": PositionEmbeddingSine,
    "memory_encoder.mask_downsampler": MaskDownSampler,
    "memory_encoder.fuser": Fuser,
}
# Read by the modules' constructors, with effects a configuration must not have.
FORBIDDEN = ("weights_path", "compile_image_encoder")
# Parameters GLUS never reads (verified by filling them with NaN): a checkpoint may lack them.
UNUSED_PREFIXES = (
    "maskmem_tpos_enc",
    "no_mem_pos_enc",
    "no_obj_ptr",
    "obj_ptr_proj.",
    "mask_downsample.",
    "sam_prompt_encoder.point_embeddings.",
    "sam_prompt_encoder.not_a_point_embed.",
    "sam_prompt_encoder.mask_downscaling.",
)
REFERENCE_GAMMA = 1e-6  # what is left in the fuser by a loader that renames every key with "gamma" in it


def build_sam2(config: dict[str, Any]) -> SAM2Base:
    """SAM 2 with untrained weights, in evaluation mode. Raises CheckpointError where the tree does not fit it."""
    model = _instance(config, "model")
    if not isinstance(model, SAM2Base):
        raise CheckpointError(f"SAM 2 configuration: got a {type(model).__name__}, expected a SAM2Base")
    for name, kind in PARTS.items():
        part: Any = model
        for step in name.split("."):
            part = getattr(part, step, None)
        if not isinstance(part, kind):
            raise CheckpointError(
                f"SAM 2 configuration: {name}: got {type(part).__name__}, expected {kind.__name__}, as GLUS is built"
            )
    size = model.image_size
    if model.backbone_stride != 16 or model.image_encoder.scalp != 1 or type(size) is not int or size < 32 or size % 32:
        raise CheckpointError(
            f"SAM 2 configuration: got stride {model.backbone_stride}, scalp {model.image_encoder.scalp} and "
            f"image_size {size}, expected 16, 1 and a multiple of 32, as GLUS is built"
        )
    return model.eval()


def load_weights(model: SAM2Base, checkpoint: Checkpoint, reference_gamma: bool = False) -> None:
    """Fills `model` with the float32 values of the checkpoint, whose names and shapes have been checked.

    CheckpointError: one is not finite.

    `reference_gamma` sets the fuser's layer scale to 1e-6, which is what the reference's inference script runs with;
    the default is the trained value of the checkpoint.
    """
    with torch.no_grad():
        for name, parameter in model.state_dict().items():
            if PREFIX + name in checkpoint and not name.startswith(UNUSED_PREFIXES):
                weights = checkpoint.tensor(PREFIX + name)
                check_finite(PREFIX + name, weights, np.dtype("float32"))
                parameter.copy_(weights)
        if reference_gamma:
            for layer in model.memory_encoder.fuser.layers:
                layer.gamma.fill_(REFERENCE_GAMMA)


def _instance(node: dict[str, Any], where: str) -> torch.nn.Module:
    target = node.get("_target_")
    if not isinstance(target, str) or target not in CLASSES:
        raise CheckpointError(
            f"SAM 2 configuration: {where}: got _target_ {str(target)[:60]!r}, expected a SAM 2 class"
        )
    arguments = {
        key: _instance(value, f"{where}.{key}") if isinstance(value, dict) and "_target_" in value else value
        for key, value in node.items()
        if key != "_target_"
    }
    for key in FORBIDDEN:
        if arguments.pop(key, None):
            raise CheckpointError(f"SAM 2 configuration: {where}: {key} is set, expected a configuration without it")
    try:
        return CLASSES[target](**arguments)
    except (TypeError, ValueError, AssertionError, AttributeError, RuntimeError, IndexError, ArithmeticError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"SAM 2 configuration: {where}: does not fit {target} ({first[:160]})") from error
