"""The nano GLUS as one module, its parameters named as in the official checkpoint; the CLIP tower stands beside it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from glus_edge.runtime.pixels.normalization import CLIP_MEAN, CLIP_STD, SAM_MEAN, SAM_STD
from glus_edge.training.model.language import KeyValue, LanguageSizes, Layer, RMSNorm, rotation_from_positions

SAM2_CONFIG = Path(__file__).parents[1] / "sam2_nano.yaml"
POOLED_PATCHES = 4  # consecutive patches averaged into one image token


@dataclass(frozen=True)
class TowerSizes:
    """Sizes of the CLIP tower; its last layer is never used, as in the official model."""

    hidden: int = 128
    intermediate: int = 512
    layers: int = 5
    heads: int = 4
    image: int = 96
    patch: int = 8

    @property
    def grid(self) -> int:
        """Patches per side."""
        return self.image // self.patch


def build_tower(sizes: TowerSizes) -> Any:
    """A CLIPVisionModel with random weights; its position embedding starts as sines, without which shapes stay unlearned."""
    tower = CLIPVisionModel(
        CLIPVisionConfig(  # type: ignore[no-untyped-call]
            hidden_size=sizes.hidden,
            intermediate_size=sizes.intermediate,
            num_hidden_layers=sizes.layers,
            num_attention_heads=sizes.heads,
            image_size=sizes.image,
            patch_size=sizes.patch,
            projection_dim=sizes.hidden // 2,
            attn_implementation="sdpa",
        )
    )
    with torch.no_grad():
        tower.vision_model.embeddings.position_embedding.weight[1:] = 0.3 * _grid_code(sizes.hidden, sizes.grid)
    return tower


def _grid_code(width: int, grid: int, span: float = 50.0) -> Tensor:
    """Sines and cosines of x and y at geometric frequencies, [grid*grid, width]."""
    quarter = width // 4
    frequency = 1.5 * span ** (-torch.arange(quarter) / quarter)
    rows = torch.arange(grid * grid)
    x, y = (rows % grid)[:, None] * frequency, (rows // grid)[:, None] * frequency
    return torch.cat((x.sin(), x.cos(), y.sin(), y.cos()), 1)


def build_sam2(config: Path = SAM2_CONFIG) -> Any:
    """SAM2Base from the YAML, as GLUS builds it: the stability rule on, used in evaluation mode only."""
    settings = OmegaConf.load(config)
    settings.model.sam_mask_decoder_extra_args = {
        "dynamic_multimask_via_stability": True,
        "dynamic_multimask_stability_delta": 0.05,
        "dynamic_multimask_stability_thresh": 0.98,
    }
    sam = instantiate(settings.model, _recursive_=True)
    for block in sam.memory_encoder.fuser.layers:
        nn.init.constant_(block.gamma, 0.1)  # from scratch, 1e-6 would leave the fuser without a part
    return sam


class GlusBody(nn.Module):
    """What the official checkpoint keeps under `model.`."""

    def __init__(self, language: LanguageSizes, tower: TowerSizes) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(language.vocabulary, language.hidden)
        self.layers = nn.ModuleList(Layer(language) for _ in range(language.layers))
        self.norm = RMSNorm(language.hidden, language.norm_epsilon)
        self.mm_projector = nn.Linear(tower.hidden, language.hidden)
        self.visual_model = build_sam2()
        width = language.hidden
        prompt = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, self.visual_model.hidden_dim), nn.Dropout(0.0)
        )
        self.text_hidden_fcs = nn.ModuleList([prompt])


class LanguageStates(NamedTuple):
    """What the language model computes for new rows."""

    final: Tensor  # [N, rows, hidden] after the final norm
    layers: list[Tensor]  # [N, rows, hidden] after each layer
    own: list[KeyValue]  # the new rows' keys and values per layer


class Glus(nn.Module):
    """The trained model. `state_dict()` has the official names, less the unused `rotary_emb.inv_freq` buffers."""

    def __init__(self, language: LanguageSizes, tower: TowerSizes | None = None) -> None:
        super().__init__()
        self.sizes = language
        self.model = GlusBody(language, tower or TowerSizes())
        self.lm_head = nn.Linear(language.hidden, language.vocabulary, bias=False)
        for name, parameter in self.named_parameters():
            if name.startswith(("model.layers", "model.embed_tokens", "lm_head")) and parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02 if "layers" not in name else parameter.shape[1] ** -0.5 * 0.6)

    def run_language(
        self, rows: Tensor, positions: Tensor, mask: Tensor | None, past: list[KeyValue] | None
    ) -> LanguageStates:
        """All layers over new rows [N, rows, hidden]."""
        head = self.sizes.hidden // self.sizes.heads
        rotation = rotation_from_positions(positions, head, torch.bfloat16 if _autocast() else torch.float32)
        kept: list[KeyValue] = []
        states = []
        x = rows
        for number, layer in enumerate(self.model.layers):
            x, own = layer(x, rotation, mask, None if past is None else past[number])
            kept.append(own)
            states.append(x)
        return LanguageStates(self.model.norm(x), states, kept)

    def segment_embedding(self, hidden: Tensor) -> Tensor:
        """The decoder's prompt from final hidden states: [..., hidden] -> [..., D]."""
        out: Tensor = self.model.text_hidden_fcs[0](hidden)
        return out


def _autocast() -> bool:
    return torch.is_autocast_enabled("cpu")


def clip_pixels(frames: Tensor, sizes: TowerSizes) -> Tensor:
    """uint8 square frames [N, 3, H, H] -> CLIP pixels; the official bicubic resize, rounded as PIL rounds."""
    x = frames.float()
    if x.shape[-1] != sizes.image:
        x = F.interpolate(x, (sizes.image, sizes.image), mode="bicubic", antialias=True, align_corners=False)
        x = x.round().clamp(0.0, 255.0)
    return _normalised(x / 255.0, CLIP_MEAN, CLIP_STD)


def sam_pixels(frames: Tensor, size: int) -> Tensor:
    """uint8 frames [N, 3, H, W] -> SAM pixels [N, 3, size, size]."""
    x = frames.float() / 255.0
    if x.shape[-2:] != (size, size):
        x = F.interpolate(x, (size, size), mode="bilinear", antialias=True, align_corners=False)
    return _normalised(x, SAM_MEAN, SAM_STD)


def _normalised(x: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    return (x - x.new_tensor(mean).view(1, 3, 1, 1)) / x.new_tensor(std).view(1, 3, 1, 1)


def tower_tokens(tower: Any, pixels: Tensor) -> Tensor:
    """Pooled patch features of the last layer but one: [N, 3, S, S] -> [N, patches / 4, tower hidden]."""
    vision = tower.vision_model
    x = vision.pre_layrnorm(vision.embeddings(pixels))
    for layer in vision.encoder.layers[:-1]:
        out = layer(x, None, None)
        x = out[0] if isinstance(out, tuple) else out
    x = x[:, 1:]
    pooled: Tensor = x.reshape(x.shape[0], -1, POOLED_PATCHES, x.shape[-1]).mean(2)
    return pooled
