import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glus_edge.export.checkpoint import Checkpoint
from glus_edge.export.language_config import LanguageConfig
from glus_edge.export.language_graph import write_language_model
from glus_edge.runtime.errors import CheckpointError
from glus_edge.runtime.signatures import ModelDimensions, signatures
from tests.export.language_golden import (
    DIMENSIONS,
    GOLDEN,
    Cached,
    Floats,
    expected,
    prefill,
    relative_l2,
    session,
    step_embeddings,
)

pytestmark = pytest.mark.torch

STORAGES = [("float32", "fp32"), ("float16", "fp16"), ("float32", "int8"), ("float32", "int4"), ("float16", "int4")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graphs")
    checkpoint = Checkpoint.open(GOLDEN / "checkpoint")
    for compute, weights in STORAGES:
        (path / f"{compute}_{weights}").mkdir()
        write_language_model(
            checkpoint, DIMENSIONS, path / f"{compute}_{weights}" / "language_model.onnx", compute, weights
        )
    return path


@cache
def opened(folder: Path, compute: str = "float32", weights: str = "fp32") -> onnxruntime.InferenceSession:
    path = folder / f"{compute}_{weights}" / "language_model.onnx"
    return session(path, qdq_matmulnbits_accuracy_level="1")


def errors(model: onnxruntime.InferenceSession, run: str) -> list[float]:
    found = []
    for step in range(14):
        outputs = prefill(model, step_embeddings(run, step)[None])
        assert outputs.next_token.tolist() == [expected()[f"run/{run}/next_token"][step]]
        found.append(relative_l2(outputs.segment_embedding[0], expected()[f"run/{run}/seg_embed"][step]))
    return found


@pytest.mark.parametrize("run", ["exp0", "exp1"])
def test_segment_embeddings_and_next_tokens_are_the_references(folder: Path, run: str) -> None:
    assert max(errors(opened(folder), run)) <= 1e-5


# int4 with blocks of 16 and 64 on a random model of three layers: a bound that only a broken layout exceeds.
@pytest.mark.parametrize(
    ("compute", "weights", "bound"),
    [("float16", "fp16", 5e-3), ("float32", "int8", 5e-2), ("float32", "int4", 0.6), ("float16", "int4", 0.6)],
)
def test_other_storages_stay_near_the_reference(folder: Path, compute: str, weights: str, bound: float) -> None:
    assert max(errors(opened(folder, compute, weights), "exp0")) <= bound


@pytest.mark.parametrize(("compute", "weights"), STORAGES)
def test_the_graph_is_valid_portable_and_as_its_signature(folder: Path, compute: str, weights: str) -> None:
    path = folder / f"{compute}_{weights}" / "language_model.onnx"
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(path, load_external_data=False)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 21)]
    assert model.ir_version == 10
    assert {node.domain for node in model.graph.node} == {""}
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    signature = signatures(DIMENSIONS, compute)["language_model"]
    for wanted, found in ((signature.inputs, model.graph.input), (signature.outputs, model.graph.output)):
        shapes = [
            (tensor.name, tuple(d.dim_param or d.dim_value for d in tensor.type.tensor_type.shape.dim))
            for tensor in found
        ]
        assert shapes == [(tensor.name, tensor.shape) for tensor in wanted]


def test_external_data_is_aligned_and_lies_in_one_file(folder: Path) -> None:
    path = folder / "float16_int4" / "language_model.onnx"
    end = 0
    for tensor in onnx.load(path, load_external_data=False).graph.initializer:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        if entries:
            assert entries["location"] == "language_model.onnx.data"
            assert int(entries["offset"]) % 4096 == 0
            assert int(entries["offset"]) >= end
            end = int(entries["offset"]) + int(entries["length"])
    assert end == path.with_name("language_model.onnx.data").stat().st_size
    assert path.stat().st_size < 200_000


def test_metadata_says_which_block_sizes_were_taken(folder: Path) -> None:
    def metadata(name: str) -> dict[str, str]:
        model = onnx.load(folder / name / "language_model.onnx", load_external_data=False)
        return {entry.key: entry.value for entry in model.metadata_props}

    assert metadata("float32_fp32") == {"compute": "float32", "weights": "fp32"}
    blocks = dict(entry.split("=") for entry in metadata("float32_int4")["int4_block_size"].split())
    assert blocks["model.layers.0.self_attn.q_proj.weight"] == "64"
    assert blocks["model.layers.2.mlp.down_proj.weight"] == "16"  # 176 input channels


@pytest.mark.parametrize("weights", ["int4", "int8"])
def test_onnx_runtime_fuses_every_quantised_product(folder: Path, tmp_path: Path, weights: str) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    path = folder / f"float32_{weights}" / "language_model.onnx"
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    operators = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx", load_external_data=False).graph.node]
    assert operators.count("MatMulNBits") == 7 * DIMENSIONS.language_layers + 1  # and lm_head
    assert "DequantizeLinear" not in operators


def split(model: onnxruntime.InferenceSession, rows: Floats, prefix_end: int, past_end: int) -> tuple[Floats, Floats]:
    """The segment embedding of [T, L] rows given in three parts, and the same from one call."""
    prefix = past = None
    if prefix_end:
        first = prefill(model, rows[None, :prefix_end])
        prefix = Cached([cache[:, 0] for cache in first.caches], np.zeros((1, 0), np.int32))
    if past_end > prefix_end:
        second = prefill(model, rows[None, prefix_end:past_end], prefix)
        past = Cached(second.caches, np.arange(prefix_end, past_end, dtype=np.int32)[None])
    parts = prefill(model, rows[None, past_end:], prefix, past)
    return parts.segment_embedding[0], prefill(model, rows[None]).segment_embedding[0]


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_split_into_prefix_past_and_new_rows_gives_the_same(folder: Path, data: st.DataObject) -> None:
    rows = step_embeddings("exp0", data.draw(st.integers(0, 5)))
    past_end = data.draw(st.integers(0, len(rows) - 1))
    got, wanted = split(opened(folder), rows, data.draw(st.integers(0, past_end)), past_end)
    assert relative_l2(got, wanted) <= 1e-5


@pytest.mark.parametrize(("compute", "weights"), [("float16", "fp16"), ("float32", "int4")])
def test_a_split_changes_nothing_in_other_storages(folder: Path, compute: str, weights: str) -> None:
    got, wanted = split(opened(folder, compute, weights), step_embeddings("exp0", 1), 100, 150)
    assert relative_l2(got, wanted) <= 2e-3


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(101, 184), min_size=2, max_size=4), st.sampled_from([0, 60, 100]))
def test_sentences_padded_on_the_left_are_as_alone(folder: Path, lengths: list[int], shared: int) -> None:
    model = opened(folder)
    rows = step_embeddings("exp0", 0)
    first = prefill(model, rows[None, :shared]) if shared else None
    prefix = Cached([cache[:, 0] for cache in first.caches], np.zeros((1, 0), np.int32)) if first else None
    longest = max(lengths) - shared
    batch = np.zeros((len(lengths), longest, 64), np.float32)
    for sentence, length in enumerate(lengths):
        batch[sentence, longest - (length - shared) :] = rows[shared:length]
    together = prefill(model, batch, prefix, padding=tuple(max(lengths) - length for length in lengths))
    for sentence, length in enumerate(lengths):
        alone = prefill(model, rows[None, :length])
        assert relative_l2(together.segment_embedding[sentence], alone.segment_embedding[0]) <= 1e-5
        assert together.next_token[sentence] == alone.next_token[0]


class Weights:
    """Stands in for a checkpoint: tensors made when asked for."""

    def __init__(self, dimensions: ModelDimensions, intermediate: int, tensors: dict[str, torch.Tensor]) -> None:
        d = dimensions
        self.config = LanguageConfig(
            hidden_size=d.language_width,
            intermediate_size=intermediate,
            layers=d.language_layers,
            heads=d.language_heads,
            key_value_heads=d.key_value_heads,
            vocabulary_size=d.vocabulary_size,
            max_positions=d.max_positions,
            rms_norm_eps=1e-5,
            rope_theta=500.0,
            vision_width=8,
            segment_width=d.segment_width,
            vision_tower="",
        )
        self.tensors = tensors

    def tensor(self, name: str) -> torch.Tensor:
        return self.tensors[name]


def llama(key_value_heads: int) -> tuple[Any, ModelDimensions, Weights]:
    """A LLaMA of transformers with random weights, and the same as a checkpoint."""
    from transformers import LlamaConfig, LlamaModel

    torch.manual_seed(key_value_heads)
    model = LlamaModel(
        LlamaConfig(
            vocab_size=33,
            hidden_size=48,
            intermediate_size=80,
            num_hidden_layers=2,
            num_attention_heads=6,
            num_key_value_heads=key_value_heads,
            rms_norm_eps=1e-5,
            rope_theta=500.0,
            attn_implementation="eager",
        )
    ).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    dimensions = replace(
        DIMENSIONS,
        language_width=48,
        language_layers=2,
        language_heads=6,
        key_value_heads=key_value_heads,
        vocabulary_size=33,
        segment_width=16,
    )
    tensors = {f"model.{name}": value.detach() for name, value in model.state_dict().items()}
    tensors["lm_head.weight"] = torch.randn(33, 48)
    for name, shape in (("0.weight", (48, 48)), ("0.bias", (48,)), ("2.weight", (16, 48)), ("2.bias", (16,))):
        tensors[f"model.text_hidden_fcs.0.{name}"] = torch.randn(shape)
    return model, dimensions, Weights(dimensions, 80, tensors)


@pytest.mark.parametrize("key_value_heads", [1, 2, 6])
def test_grouped_query_attention_is_as_in_transformers(tmp_path: Path, key_value_heads: int) -> None:
    model, dimensions, weights = llama(key_value_heads)
    checkpoint: Any = weights
    write_language_model(checkpoint, dimensions, tmp_path / "language_model.onnx", "float32", "fp32")
    rows = torch.randn(2, 23, 48)
    with torch.no_grad():
        last = model(inputs_embeds=rows).last_hidden_state[:, -1]
        hidden = torch.relu(
            last @ weights.tensors["model.text_hidden_fcs.0.0.weight"].T
            + weights.tensors["model.text_hidden_fcs.0.0.bias"]
        )
        wanted = hidden @ weights.tensors["model.text_hidden_fcs.0.2.weight"].T
        wanted += weights.tensors["model.text_hidden_fcs.0.2.bias"]
    opened = session(tmp_path / "language_model.onnx")
    outputs = prefill(opened, rows.numpy())
    assert relative_l2(outputs.segment_embedding, wanted.numpy()) <= 1e-5
    assert outputs.next_token.tolist() == (last @ weights.tensors["lm_head.weight"].T).argmax(-1).tolist()
    got, whole = split(opened, rows[0].numpy(), 7, 15)
    assert relative_l2(got, whole) <= 1e-5


@pytest.mark.parametrize("storage", ["fp32", "int8", "int4"])
def test_the_largest_logit_wins_even_when_all_are_negative(tmp_path: Path, storage: str) -> None:
    _, dimensions, weights = llama(6)
    checkpoint: Any = weights
    # The final norm leaves channel 0 alone: logits are its value times 1 to 28, all of one sign or, below, the other.
    weights.tensors["model.norm.weight"] = torch.zeros(48).index_fill(0, torch.tensor([0]), 1.0)
    magnitudes = torch.arange(33).sub(5).abs().add(1.0)
    rows = np.random.default_rng(0).normal(size=(1, 4, 48))
    tokens = []
    for sign in (1, -1):
        weights.tensors["lm_head.weight"] = torch.zeros(33, 48)
        weights.tensors["lm_head.weight"][:, 0] = sign * magnitudes
        write_language_model(checkpoint, dimensions, tmp_path / "language_model.onnx", "float32", storage)
        tokens += prefill(session(tmp_path / "language_model.onnx"), rows).next_token.tolist()
    assert sorted(tokens) == [5, 32]  # the smallest magnitude where negative, the largest where positive


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
from glus_edge.export.language_graph import write_language_model
from tests.export.language_golden import DIMENSIONS
from tests.export.test_language_graph import Weights
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
