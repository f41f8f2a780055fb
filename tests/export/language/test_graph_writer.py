import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from glus_edge.export.language.graph import write_language_model
from glus_edge.runtime.errors import CheckpointError
from tests.export.language_golden import GOLDEN
from tests.export.tiny_llama import llama

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "name", ["model.layers.1.mlp.up_proj.weight", "model.layers.0.input_layernorm.weight", "lm_head.weight"]
)
def test_a_weight_that_is_not_finite_is_named(tmp_path: Path, name: str, value: float) -> None:
    _, dimensions, weights = llama(6)
    weights.tensors[name].view(-1)[3] = value
    checkpoint: Any = weights
    with pytest.raises(CheckpointError, match=f"{name}: holds NaN or infinity"):
        write_language_model(checkpoint, dimensions, tmp_path / "language_model.onnx", "float32", "int4")
    assert not (tmp_path / "language_model.onnx").exists()


def test_a_weight_beyond_half_precision_is_named(tmp_path: Path) -> None:
    _, dimensions, weights = llama(6)
    weights.tensors["model.layers.1.mlp.up_proj.weight"][0, 0] = 7e4
    checkpoint: Any = weights
    with pytest.raises(CheckpointError, match=r"up_proj.weight: holds 70000, expected at most 65504"):
        write_language_model(checkpoint, dimensions, tmp_path / "language_model.onnx", "float16", "fp16")


def test_an_odd_width_has_no_int4_blocks(tmp_path: Path) -> None:
    _, dimensions, weights = llama(6)
    weights.tensors["model.layers.0.mlp.down_proj.weight"] = torch.zeros(48, 72)
    checkpoint: Any = weights
    with pytest.raises(CheckpointError, match=r"down_proj.weight: 72 input channels, expected a multiple of 16"):
        write_language_model(checkpoint, dimensions, tmp_path / "language_model.onnx", "float32", "int4")


def test_progress_is_told_layer_by_layer(tmp_path: Path) -> None:
    _, dimensions, weights = llama(6)
    checkpoint: Any = weights
    told: list[tuple[int, int]] = []
    path = tmp_path / "language_model.onnx"
    write_language_model(checkpoint, dimensions, path, "float32", "fp32", lambda *now: told.append(now))
    assert told == [(1, 2), (2, 2)]


STREAMED = """
import resource, sys
from pathlib import Path
import torch
from glus_edge.export.language.graph import write_language_model
from tests.export.language_golden import DIMENSIONS
from tests.export.tiny_llama import Weights
from dataclasses import replace

class Made(Weights):
    def tensor(self, name):
        width, inner = 512, 1408
        shapes = {"gate_proj": (inner, width), "up_proj": (inner, width), "down_proj": (width, inner),
                  "lm_head": (4000, width), "text_hidden_fcs.0.2.weight": (64, width)}
        shape = next((shape for key, shape in shapes.items() if key in name), (width, width))
        if "norm" in name or name.endswith("bias"):
            shape = shape[:1] if "0.2" not in name else (64,)
        return torch.full(shape, 0.01, dtype=torch.bfloat16)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

dimensions = replace(DIMENSIONS, language_width=512, language_layers=9, language_heads=8, key_value_heads=8,
                     vocabulary_size=4000)
small = replace(dimensions, language_layers=1)
for weights in ("fp32", "int4"):
    write_language_model(Made(small, 1408, {}), small, Path(sys.argv[1]), "float32", weights)
    before = peak()
    write_language_model(Made(dimensions, 1408, {}), dimensions, Path(sys.argv[1]), "float32", weights)
    print(peak() - before, Path(sys.argv[1] + ".data").stat().st_size)
"""


def test_memory_does_not_grow_with_the_number_of_layers(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STREAMED, str(tmp_path / "language_model.onnx")]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, cwd=GOLDEN.parents[2]).stdout
    for line, least in zip(printed.splitlines(), (120e6, 16e6), strict=True):
        grown, written = map(int, line.split())
        assert written > least
        assert grown < 4e6
