"""CLIP as transformers builds it from the folder's own config.json, against this package's reading of it."""

import inspect
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import CLIPVisionConfig, CLIPVisionModel

from glus_edge.export.checkpoint.json_file import JsonObject
from glus_edge.export.checkpoint.vision_tower import PREFIX, VisionTower, vision_settings
from glus_edge.export.parity.comparison import TOLERANCES
from glus_edge.export.vision.clip_encoder import POOLED_PATCHES, ClipEncoder
from glus_edge.runtime.errors import CheckpointError, ParityError

_CONFIG: Any = CLIPVisionConfig  # the library has no types
_MODEL: Any = CLIPVisionModel
# What the library's constructors raise on settings that do not fit.
_REFUSALS = (TypeError, ValueError, KeyError, AttributeError, RuntimeError, ArithmeticError)


def check_clip(encoder: ClipEncoder, tower: VisionTower, pixels: Tensor) -> Tensor:
    """image_tokens [images, tokens, language width] of `encoder`, which must be the library's.

    Raises ParityError where they are not, CheckpointError where the library builds no CLIP of the configuration.
    """
    with torch.inference_mode():
        tokens: Tensor = encoder(pixels)
        patches = _library_model(encoder, tower)(pixel_values=pixels).last_hidden_state[:, 1:]
        pooled = functional.avg_pool1d(patches.transpose(1, 2), POOLED_PATCHES, POOLED_PATCHES).transpose(1, 2)
        expected = encoder.mm_projector(pooled)
    distance = float((tokens - expected).norm() / expected.norm())
    if not distance <= TOLERANCES["float32"]:
        raise ParityError(
            f"clip_encoder: the vision tower {tower.weights.folder} gives image tokens a relative L2 distance of "
            f"{distance:.1e} from transformers', expected at most {TOLERANCES['float32']:.0e}; its config.json holds a "
            "setting that is not followed, report this model"
        )
    return tokens


def _library_model(encoder: ClipEncoder, tower: VisionTower) -> Any:
    """The library's model with the encoder's own parameters, none copied; its unused last layer is left out."""
    path = tower.weights.folder / "config.json"
    values = vision_settings(JsonObject.read(path))
    try:
        declared = inspect.signature(CLIPVisionConfig.__init__).parameters
        settings = {key: value for key, value in values.values.items() if key in declared}
        config = _CONFIG(**settings | {"num_hidden_layers": tower.config.layers - 1})
        with torch.device("meta"):
            model = _MODEL(config).eval()
        missing, unknown = model.load_state_dict(_library_names(encoder), strict=False, assign=True)
    except _REFUSALS as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path}: transformers builds no CLIP from it ({first[:160]})") from error
    unused = {f"{PREFIX}post_layernorm.{part}" for part in ("weight", "bias")}
    assert not unknown, unknown
    assert set(missing) <= unused, missing
    model.vision_model.post_layernorm = torch.nn.Identity()  # of the pooled output, which is not read
    embeddings = model.vision_model.embeddings
    embeddings.position_ids = torch.arange(embeddings.num_positions)[None]
    return model


def _library_names(encoder: ClipEncoder) -> dict[str, Tensor]:
    return {
        PREFIX + (f"encoder.{name}" if name.startswith("layers.") else name): value
        for name, value in encoder.state_dict().items()
        if not name.startswith("mm_projector.")
    }
