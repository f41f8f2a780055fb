"""Random weights by name and shape, written shard by shard.

Scaled so that activations stay of order one through any depth. [SEG] always wins: channel 0 of the language model's
residual stream is a constant that every embedding and the projector's bias set, no layer writes it, and the row of
lm_head for [SEG] reads it alone (as in the golden model of the tests).
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch

from glus_edge.export.checkpoint.language_config import LanguageConfig
from glus_edge.export.checkpoint.tensor_names import Shapes

SHARD_BYTES = 1 << 30
CONSTANT = 2.5  # channel 0 of the residual stream
SEGMENT_GAIN = 40.0  # of [SEG]'s row of lm_head
TABLE_STD = 0.3  # of tokens and position tables
BIAS_STD = 0.05
GAMMA = 0.5  # layer scale of the memory encoder's fuser, as trained ones are; its initial value would switch it off

Progress = Callable[[int], None]  # bytes written since the last call


def write_weights(
    folder: Path, shapes: Shapes, make: Callable[[str], torch.Tensor], dtype: torch.dtype, progress: Progress
) -> None:
    """Write pytorch_model.bin, or shards with an index; one shard is in memory at a time."""
    shards = list(_shards(shapes, dtype))
    weight_map: dict[str, str] = {}
    for number, names in enumerate(shards, start=1):
        one = len(shards) == 1
        file = "pytorch_model.bin" if one else f"pytorch_model-{number:05d}-of-{len(shards):05d}.bin"
        tensors = {}
        for name in names:
            tensors[name] = make(name)
            progress(tensors[name].nbytes)
        torch.save(tensors, folder / file)
        weight_map |= dict.fromkeys(names, file)
    if len(shards) > 1:
        total = sum(math.prod(shape) for shape in shapes.values()) * dtype.itemsize
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def language_tensor(
    name: str, shape: tuple[int, ...], config: LanguageConfig, segment_id: int, generator: torch.Generator
) -> torch.Tensor:
    """One tensor of the language model, the projector or text_hidden_fcs, float32."""
    tensor = random_tensor(name, shape, generator)
    if name == "model.embed_tokens.weight":
        tensor.normal_(generator=generator)[:, 0] = CONSTANT
    elif name == "model.mm_projector.bias":
        tensor[0] = CONSTANT
    elif name == "model.mm_projector.weight":
        tensor[0] = 0
    elif name.endswith(("o_proj.weight", "down_proj.weight")):
        tensor.div_(math.sqrt(2 * config.layers))[0] = 0
    elif name == "lm_head.weight":
        tensor[segment_id] = 0
        tensor[segment_id, 0] = SEGMENT_GAIN
    return tensor


def random_tensor(name: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """One tensor by the part it plays, float32: matrices keep the scale of what they are multiplied with."""
    part = name.rsplit(".", 1)[-1]
    tensor = torch.empty(shape)
    if part == "gamma":
        return tensor.fill_(GAMMA)
    if part == "positional_encoding_gaussian_matrix":
        return tensor.normal_(generator=generator)
    if part == "weight" and len(shape) == 1:  # of a norm
        return tensor.fill_(1)
    if part in ("bias", "in_proj_bias"):
        return tensor.normal_(std=BIAS_STD, generator=generator)
    if part != "weight" or ("embed" in name.split(".")[-2] and len(shape) == 2):
        return tensor.normal_(std=TABLE_STD, generator=generator)
    return tensor.normal_(std=1 / math.sqrt(math.prod(shape[1:])), generator=generator)


def rotary_buffers(config: LanguageConfig) -> Mapping[str, torch.Tensor]:
    """The buffers that transformers 4.31 saves along, and that nothing may read."""
    frequencies = 1.0 / (config.rope_theta ** (torch.arange(0, config.head_width, 2).float() / config.head_width))
    return {f"model.layers.{layer}.self_attn.rotary_emb.inv_freq": frequencies for layer in range(config.layers)}


def _shards(shapes: Shapes, dtype: torch.dtype) -> Iterator[list[str]]:
    names: list[str] = []
    size = 0
    for name, shape in shapes.items():
        nbytes = math.prod(shape) * dtype.itemsize
        if names and size + nbytes > SHARD_BYTES:
            yield names
            names, size = [], 0
        names.append(name)
        size += nbytes
    yield names
