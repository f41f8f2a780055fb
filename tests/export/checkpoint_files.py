"""Checkpoint folders in the forms they come in, made from the golden one."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

GOLDEN = Path(__file__).parents[1] / "data" / "golden_A"
SAM2_YAML = GOLDEN / "sam2.yaml"

Weights = dict[str, torch.Tensor]


def golden_weights() -> Weights:
    return torch.load(GOLDEN / "checkpoint" / "pytorch_model.bin", weights_only=True)


def golden_config() -> dict[str, Any]:
    return json.loads((GOLDEN / "checkpoint" / "config.json").read_text())


def folder(path: Path, config: dict[str, Any] | None = None) -> Path:
    """A checkpoint folder with everything but weights."""
    shutil.copytree(GOLDEN / "checkpoint", path, ignore=shutil.ignore_patterns("*.bin"))
    (path / "config.json").write_text(json.dumps(config or golden_config()))
    return path


def single_bin(path: Path, weights: Any, config: dict[str, Any] | None = None) -> Path:
    torch.save(weights, folder(path, config) / "pytorch_model.bin")
    return path


def sharded_bin(path: Path, weights: Weights, shards: int = 3) -> Path:
    """Shards with an index, as large checkpoints are released."""
    folder(path)
    names, weight_map = list(weights), {}
    for number in range(shards):
        file = f"pytorch_model-{number + 1:05d}-of-{shards:05d}.bin"
        part = names[number::shards]
        torch.save({name: weights[name] for name in part}, path / file)
        weight_map |= dict.fromkeys(part, file)
    write_index(path, weight_map)
    return path


def write_index(path: Path, weight_map: Any) -> None:
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (path / "pytorch_model.bin.index.json").write_text(json.dumps(index))


def safetensors(path: Path, weights: Weights) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder(path) / "model.safetensors")
    return path
