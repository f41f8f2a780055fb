"""Mutated files of a checkpoint: weights, configurations, tokenizers."""

import copy
import json
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from glus_edge.export.checkpoint.json_file import JsonObject
from glus_edge.export.checkpoint.language_config import LanguageConfig
from glus_edge.export.checkpoint.sam2_config import sam2_config
from glus_edge.export.checkpoint.vision_tower import image_settings, vision_config
from glus_edge.export.checkpoint.weight_folder import WeightFolder
from glus_edge.export.parity.llama import llama_config
from glus_edge.export.tokenizer.tokenizer import write_tokenizer
from tests.export import checkpoint_files as files
from tests.fuzz.mutation import mutated

_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2,
    0.5,
    1e300,
    10**30,
    "",
    "silu",
    "default",
    [],
    {},
    [1, 2],
    {"a": 1},
)
_TOKENIZER_FILES = ("tokenizer.model", "added_tokens.json", "special_tokens_map.json", "tokenizer_config.json")


@cache
def weight_files() -> tuple[tuple[str, bytes], ...]:
    """Name and content of a small file in each format."""
    weights = {"a": torch.arange(6.0).reshape(2, 3), "b.weight": torch.ones(4, dtype=torch.bfloat16)}
    zipped, legacy = BytesIO(), BytesIO()
    torch.save(weights, zipped)
    torch.save(weights, legacy, _use_new_zipfile_serialization=False)
    return (
        ("pytorch_model.bin", zipped.getvalue()),
        ("pytorch_model.bin", legacy.getvalue()),
        ("model.safetensors", save(weights)),
    )


def fuzz_weights(seed: int, folder: Path) -> None:
    """A weight file: every tensor is read."""
    name, content = weight_files()[seed % 3]
    (folder / name).write_bytes(mutated(content, seed))
    try:
        weights = WeightFolder(folder)
        for tensor in weights.names():
            assert tuple(weights.tensor(tensor).shape) == weights.shape(tensor)
        weights.release()
    finally:
        (folder / name).unlink()


def fuzz_config(seed: int, folder: Path) -> None:
    """config.json of checkpoint and tower, and the tower's pixels; by bytes, or a key's value at a time."""
    name = ("checkpoint/config.json", "clip/config.json", "clip/preprocessor_config.json")[seed % 3]
    content = (files.GOLDEN / name).read_bytes()
    path = folder / "config.json"
    path.write_bytes(mutated(content, seed) if seed % 2 else _with_other_values(content, seed))
    values = JsonObject.read(path)
    if seed % 3 == 0:
        LanguageConfig.from_json(values)
        llama_config(path)
    elif seed % 3 == 1:
        vision_config(values)
    else:
        image_settings(values, vision_config(JsonObject.read(files.GOLDEN / "clip" / "config.json")))


def fuzz_tokenizer(seed: int, folder: Path) -> None:
    """The files of a tokenizer, one of them mutated; of every fifth, tokenizer.json alone."""
    for path in folder.iterdir():
        path.unlink()
    if seed % 5 == 4:
        content = _tokenizer_json()
        (folder / "tokenizer.json").write_bytes(
            mutated(content, seed) if seed % 2 else _with_other_values(content, seed)
        )
    else:
        for number, name in enumerate(_TOKENIZER_FILES):
            content = (files.GOLDEN / "checkpoint" / name).read_bytes()
            if number == seed % 5:
                by_value = number and seed % 2
                content = _with_other_values(content, seed) if by_value else mutated(content, seed)
            (folder / name).write_bytes(content)
    write_tokenizer(folder, folder / "written.json")


def fuzz_sam2(seed: int, folder: Path) -> None:
    """A SAM 2 configuration."""
    path = folder / "sam2.yaml"
    path.write_bytes(mutated(files.SAM2_YAML.read_bytes(), seed))
    sam2_config(str(path))


@cache
def _tokenizer_json() -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "tokenizer.json"
        write_tokenizer(files.GOLDEN / "checkpoint", path)
        return json.dumps(json.loads(path.read_text(encoding="utf-8"))).encode()


def _with_other_values(content: bytes, seed: int) -> bytes:
    """A JSON object, the values of one to three keys, at any depth, replaced."""
    random = np.random.default_rng(seed)
    values = json.loads(content)
    for _ in range(int(random.integers(1, 4))):
        place = values
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = keys[int(random.integers(len(keys)))]
            inside = isinstance(place[key], (dict, list)) and place[key] and random.random() < 0.7
            if not inside:
                break
            place = place[key]
        place[key] = copy.deepcopy(_VALUES[int(random.integers(len(_VALUES)))])
    return json.dumps(values).encode()
