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

from glus_edge.export.checkpoint.checkpoint import Checkpoint
from glus_edge.export.language.graph import write_language_model
from glus_edge.runtime.bundle.signatures import signatures
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
from tests.export.tiny_llama import llama

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

    constants = {"rope_theta": "10000.0", "rms_norm_eps": "1e-06"}
    assert metadata("float32_fp32") == {"compute": "float32", "weights": "fp32", **constants}
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
