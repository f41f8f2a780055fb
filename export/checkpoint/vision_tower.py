"""The CLIP folder: a vision model alone or a whole CLIP, old and new preprocessor files."""

from dataclasses import dataclass
from pathlib import Path

from glus_edge.export.checkpoint.json_file import JsonObject
from glus_edge.export.checkpoint.tensor_names import Shapes, check_tensors
from glus_edge.export.checkpoint.weight_folder import WeightFolder
from glus_edge.runtime.bundle.manifest import ImageSettings
from glus_edge.runtime.errors import CheckpointError

PREFIX = "vision_model."
CLASS_EMBEDDING = "embeddings.class_embedding"
# The text half of a whole CLIP, and what the layer before the last does not need.
UNUSED = (
    "text_model.",
    "text_projection.",
    "visual_projection.",
    "logit_scale",
    "vision_model.embeddings.position_ids",
)
BICUBIC = 3  # PIL's number


@dataclass(frozen=True)
class VisionConfig:
    """Sizes of the CLIP vision model. The value of CLIP ViT-L/14 is given after each field."""

    width: int  # 1024
    mlp_width: int  # 4096
    layers: int  # 24
    heads: int  # 16
    image_size: int  # 224, pixels
    patch_size: int  # 14, pixels
    layer_norm_eps: float  # 1e-5
    activation: str  # 'quick_gelu' or 'gelu'

    @property
    def patches(self) -> int:
        """Patches of one image."""
        return (self.image_size // self.patch_size) ** 2


@dataclass(frozen=True)
class VisionTower:
    """An opened CLIP folder; weights are read when asked for."""

    config: VisionConfig
    image: ImageSettings
    weights: WeightFolder

    @classmethod
    def open(cls, folder: Path) -> "VisionTower":
        """Raises CheckpointError where a file is missing or hostile, or a setting or tensor is not CLIP's."""
        if not folder.is_dir():
            raise CheckpointError(f"vision tower {folder}: is not a folder; give the CLIP folder with --vision-tower")
        config = vision_config(JsonObject.read(folder / "config.json"))
        image = image_settings(_preprocessor(folder), config)
        weights = WeightFolder(folder)
        if CLASS_EMBEDDING in weights:  # as transformers 5 saves a vision model alone
            weights = WeightFolder(folder, PREFIX)
        check_tensors(weights, vision_shapes(config), UNUSED)
        return cls(config, image, weights)


def _preprocessor(folder: Path) -> JsonObject:
    """The settings of the pixels: a file of their own, or a part of transformers 5's processor_config.json."""
    alone, processor = folder / "preprocessor_config.json", folder / "processor_config.json"
    if alone.exists() or not processor.exists():
        return JsonObject.read(alone)
    settings = JsonObject.read(processor).child("image_processor")
    if settings is None:
        raise CheckpointError(
            f"{processor}: image_processor: got nothing, expected the settings of CLIP's pixels; copy preprocessor_config.json "
            "into the folder"
        )
    return settings


def vision_shapes(config: VisionConfig) -> Shapes:
    """Names and shapes of a CLIP vision model."""
    width, mlp = config.width, config.mlp_width

    def norm(name: str) -> Shapes:
        return {f"{PREFIX}{name}.weight": (width,), f"{PREFIX}{name}.bias": (width,)}

    def linear(name: str, out_width: int, in_width: int) -> Shapes:
        return {f"{PREFIX}{name}.weight": (out_width, in_width), f"{PREFIX}{name}.bias": (out_width,)}

    shapes: Shapes = {
        PREFIX + CLASS_EMBEDDING: (width,),
        PREFIX + "embeddings.patch_embedding.weight": (width, 3, config.patch_size, config.patch_size),
        PREFIX + "embeddings.position_embedding.weight": (config.patches + 1, width),
    }
    shapes |= norm("pre_layrnorm") | norm("post_layernorm")
    for layer in range(config.layers):
        prefix = f"encoder.layers.{layer}."
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= linear(f"{prefix}self_attn.{name}", width, width)
        shapes |= linear(prefix + "mlp.fc1", mlp, width) | linear(prefix + "mlp.fc2", width, mlp)
        shapes |= norm(prefix + "layer_norm1") | norm(prefix + "layer_norm2")
    return shapes


def vision_settings(whole: JsonObject) -> JsonObject:
    """The settings of the vision model in a config.json: of one alone, or the part of a whole CLIP.

    Those of the first release stand in vision_config_dict as well, which outranks (CLIPConfig of transformers).
    """
    parts = [part.values for key in ("vision_config", "vision_config_dict") if (part := whole.child(key)) is not None]
    return JsonObject(whole.path, {key: value for part in parts for key, value in part.items()}) if parts else whole


def vision_config(whole: JsonObject) -> VisionConfig:
    """The sizes of a CLIP folder's config.json. Raises CheckpointError naming the key of what is not followed."""
    config = vision_settings(whole)
    # What a file leaves out is the default of CLIPVisionConfig.
    vision = VisionConfig(
        width=config.integer("hidden_size", 768, maximum=1 << 16),
        mlp_width=config.integer("intermediate_size", 3072, maximum=1 << 18),
        layers=config.integer("num_hidden_layers", 12, maximum=512),
        heads=config.integer("num_attention_heads", 12, maximum=1024),
        image_size=config.integer("image_size", 224, maximum=1 << 13),
        patch_size=config.integer("patch_size", 32, maximum=1 << 10),
        layer_norm_eps=config.number("layer_norm_eps", 1e-5),
        activation=config.text("hidden_act", "quick_gelu"),
    )
    config.require("model_type", ("clip", "clip_vision_model"), "GLUS reads images with CLIP")
    config.require("num_channels", (3,), "frames are RGB")
    if vision.activation not in ("quick_gelu", "gelu"):
        raise config.error("hidden_act", "quick_gelu or gelu")
    if vision.width % vision.heads:
        raise config.error("num_attention_heads", f"a divisor of hidden_size {vision.width}")
    if vision.image_size % vision.patch_size or vision.patches % 4:
        raise config.error("patch_size", f"a divisor of image_size {vision.image_size} that gives groups of 4 patches")
    if vision.layers < 2:
        raise config.error("num_hidden_layers", "at least 2: the layer before the last is read")
    return vision


def image_settings(settings: JsonObject, config: VisionConfig) -> ImageSettings:
    """The settings of CLIP's pixels. Raises CheckpointError naming the key of what is not followed."""
    for key in ("do_resize", "do_center_crop", "do_normalize", "do_rescale"):
        settings.require(key, (True,), "GLUS resizes, crops and normalises")
    for key in ("do_pad", "do_reduce_labels"):
        settings.require(key, (False,), "GLUS resizes, crops and normalises")
    settings.require("resample", (BICUBIC,), "GLUS resizes bicubically")
    factor = settings.number("rescale_factor", 1 / 255)
    if abs(factor * 255 - 1) > 1e-6:
        raise settings.error("rescale_factor", "1/255")
    for key in ("image_processor_type", "feature_extractor_type"):
        if "CLIP" not in settings.text(key, "CLIP"):
            raise settings.error(key, "CLIP's")
    # The file of openai/clip-vit-large-patch14 is flat: both are plain whole numbers.
    sides = [_side(settings, "size", ("shortest_edge",)), _side(settings, "crop_size", ("height", "width"))]
    for key, side in zip(("size", "crop_size"), sides, strict=True):
        if side != config.image_size:
            raise settings.error(key, f"the image_size {config.image_size} of config.json")
    return ImageSettings(config.image_size, _triple(settings, "image_mean"), _triple(settings, "image_std"))


def _side(settings: JsonObject, key: str, names: tuple[str, ...]) -> int:
    sizes = settings.child(key)
    if sizes is None:
        return settings.integer(key, maximum=1 << 13)
    if names[0] not in sizes.values:
        # {height, width} as `size` would squash the picture, which GLUS crops.
        raise settings.error(key, " and ".join(names))
    sides = {sizes.integer(name, maximum=1 << 13) for name in names}
    if len(sides) != 1:
        raise settings.error(key, "one side")
    return sides.pop()


def _triple(settings: JsonObject, key: str) -> tuple[float, float, float]:
    values = settings.values.get(key)
    if not isinstance(values, list) or len(values) != 3:
        raise settings.error(key, "three numbers")
    checked = JsonObject(settings.path, dict(zip("rgb", values, strict=True)))
    return checked.number("r"), checked.number("g"), checked.number("b")
