"""clip_encoder: CLIP's vision transformer up to the layer before the last, pooled and projected into language tokens."""

import numpy as np
import torch
from torch import Tensor, nn

from glus_edge.export.checkpoint.checkpoint import Checkpoint
from glus_edge.export.checkpoint.finite import check_finite
from glus_edge.export.checkpoint.vision_tower import PREFIX, VisionConfig, VisionTower
from glus_edge.export.vision.layers import Float32LayerNorm, FusedHeads, Gelu

POOLED_PATCHES = 4  # consecutive patches in row-major order that become one token


class ClipEncoder(nn.Module):
    """`forward` is the signature of the graph. Parameters are named as in CLIP's own files."""

    def __init__(self, config: VisionConfig, language_width: int) -> None:
        super().__init__()
        self.embeddings = _Embeddings(config)
        self.pre_layrnorm = Float32LayerNorm(config.width, eps=config.layer_norm_eps)
        # hidden_states[-2]: the last layer is never run.
        self.layers = nn.ModuleList(_ClipLayer(config) for _ in range(config.layers - 1))
        self.mm_projector = nn.Linear(config.width, language_width)

    @classmethod
    def load(cls, tower: VisionTower, checkpoint: Checkpoint) -> "ClipEncoder":
        """The encoder with the tower's weights and the checkpoint's projector, float32. CheckpointError: not finite."""
        encoder = cls(tower.config, checkpoint.config.hidden_size)
        with torch.no_grad():
            for name, parameter in encoder.named_parameters():
                if name.startswith("mm_projector."):
                    stored = "model." + name
                    weights = checkpoint.tensor(stored)
                else:
                    stored = PREFIX + ("encoder." + name if name.startswith("layers.") else name)
                    weights = tower.weights.tensor(stored)
                check_finite(stored, weights, np.dtype("float32"))
                parameter.copy_(weights)
        tower.weights.release()
        return encoder.eval()

    def forward(self, clip_pixels: Tensor) -> Tensor:
        """[images, 3, S, S] float32, normalised, to image_tokens [images, tokens, language width]."""
        x = self.pre_layrnorm(self.embeddings(clip_pixels.to(self.embeddings.class_embedding.dtype)))
        for layer in self.layers:
            x = layer(x)
        pooled = x[:, 1:].unflatten(1, (-1, POOLED_PATCHES)).mean(2)
        tokens: Tensor = self.mm_projector(pooled)
        return tokens


class _Embeddings(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.class_embedding = nn.Parameter(torch.zeros(config.width))
        side = config.patch_size
        self.patch_embedding = nn.Conv2d(3, config.width, kernel_size=side, stride=side, bias=False)
        self.position_embedding = nn.Embedding(config.patches + 1, config.width)

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.patch_embedding(pixels).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(pixels.shape[0], 1, -1)
        return torch.cat((first, patches), 1) + self.position_embedding.weight


class _ClipLayer(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.layer_norm1 = Float32LayerNorm(config.width, eps=config.layer_norm_eps)
        self.layer_norm2 = Float32LayerNorm(config.width, eps=config.layer_norm_eps)
        self.self_attn = FusedHeads(_Projections(config))
        self.mlp = _Mlp(config)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.layer_norm1(x)
        x = x + self.self_attn(normed, normed, normed)
        mixed: Tensor = x + self.mlp(self.layer_norm2(x))
        return mixed


class _Projections:
    """The four matrices of an attention, as `FusedHeads` takes them over."""

    def __init__(self, config: VisionConfig) -> None:
        self.num_heads = config.heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(config.width, config.width) for _ in range(4))


class _Mlp(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.width, config.mlp_width)
        self.fc2 = nn.Linear(config.mlp_width, config.width)
        self.activation = _QuickGelu() if config.activation == "quick_gelu" else Gelu()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(self.activation(self.fc1(x)))
        return out


class _QuickGelu(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)
