"""The rewritten language model computes what the exported one does, whatever lies in its caches."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glus_edge.runtime.backends.onnxruntime_engine import OnnxRuntimeBackend
from glus_edge.runtime.backends.onnxruntime_session import language_model_source
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.signatures import MASKED
from glus_edge.runtime.errors import BundleError
from glus_edge.runtime.onnx_rewrite.fused_rotary import language_model_with_fused_rotary

pytestmark = pytest.mark.torch  # the graphs are exported first

POSITIONS = 64


def opened(model: bytes, folder: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def pair(path: Path) -> tuple[onnxruntime.InferenceSession, onnxruntime.InferenceSession]:
    model = path.read_bytes()
    fused = language_model_with_fused_rotary(model, POSITIONS)
    assert fused is not None
    return opened(model, path.parent), opened(fused, path.parent)


@pytest.fixture(scope="module")
def golden_pair(golden_bundle: Path) -> tuple[onnxruntime.InferenceSession, onnxruntime.InferenceSession]:
    return pair(golden_bundle / "language_model.onnx")


def inputs(
    session: onnxruntime.InferenceSession, sentences: int, prefix: int, past: int, new: int, seed: int
) -> dict[str, Any]:
    """Random rows; some of the past are no one's: masked, their positions anything."""
    rng = np.random.default_rng(seed)
    sizes = {"sentences": sentences, "prefix_tokens": prefix, "past_tokens": past, "new_tokens": new}
    sizes["all_tokens"] = prefix + past + new
    feeds: dict[str, Any] = {
        tensor.name: rng.standard_normal([sizes.get(size, size) for size in tensor.shape]).astype(np.float32)
        for tensor in session.get_inputs()
    }
    feeds["positions"] = np.tile(np.arange(prefix + past, prefix + past + new, dtype=np.int32), (sentences, 1))
    feeds["past_positions"] = np.tile(np.arange(prefix, prefix + past, dtype=np.int32), (sentences, 1))
    seen = np.ones((sentences, new, prefix + past + new), bool)
    seen[:, :, prefix + past :] &= np.tri(new, dtype=bool)
    empty = rng.random((sentences, past)) < 0.3
    feeds["past_positions"][empty] = rng.integers(-POSITIONS, 4 * POSITIONS, empty.sum())
    seen[:, :, prefix : prefix + past] &= ~empty[:, None]
    feeds["attention_mask"] = np.where(seen, np.float32(0), np.float32(MASKED))
    return feeds


def largest_difference(sessions: tuple[onnxruntime.InferenceSession, ...], feeds: dict[str, Any]) -> float:
    """Of any output, relative to its norm."""
    one, other = (session.run(None, feeds) for session in sessions)
    norms = [max(1.0, float(np.linalg.norm(output.astype(np.float64)))) for output in one]
    return max(float(np.linalg.norm(a.astype(np.float64) - b)) / n for a, b, n in zip(one, other, norms, strict=True))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(0, 20), st.integers(0, 20), st.integers(1, 20), st.integers(0, 99))
def test_every_output_is_that_of_the_exported_graph(golden_pair, sentences, prefix, past, new, seed):  # type: ignore[no-untyped-def]
    feeds = inputs(golden_pair[0], sentences, prefix, past, new, seed)
    assert largest_difference(golden_pair, feeds) < 1e-5


@pytest.mark.parametrize("key_value_heads", [1, 2])
def test_heads_that_share_keys_are_rewritten_too(tmp_path: Path, key_value_heads: int) -> None:
    from glus_edge.export.language.graph import write_language_model
    from tests.export.tiny_llama import llama

    _, dimensions, weights = llama(key_value_heads)
    path, checkpoint = tmp_path / "language_model.onnx", weights
    write_language_model(checkpoint, dimensions, path, "float32", "fp32")  # type: ignore[arg-type]
    sessions = pair(path)
    assert largest_difference(sessions, inputs(sessions[0], 3, 5, 7, 6, seed=1)) < 1e-5


def test_other_precisions_and_other_graphs_stay_as_they_are(golden_bundle: Path, golden_bundle_fp16: Path) -> None:
    for path in (golden_bundle_fp16 / "language_model.onnx", golden_bundle / "mask_decoder.onnx"):
        assert language_model_with_fused_rotary(path.read_bytes(), POSITIONS) is None


def test_the_engine_runs_the_rewritten_graph(golden_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given_models = []
    make = onnxruntime.InferenceSession

    def spy(model: bytes | str, *arguments: Any, **named: Any) -> Any:
        given_models.append(model)
        return make(model, *arguments, **named)

    monkeypatch.setattr(onnxruntime, "InferenceSession", spy)
    bundle = Bundle.open(golden_bundle)
    OnnxRuntimeBackend(bundle).open("language_model").close()
    assert b"RotaryEmbedding" in given_models[0]
    OnnxRuntimeBackend(bundle).open("mask_decoder").close()
    assert given_models[1] == str(bundle.graph_path("mask_decoder"))


@pytest.mark.parametrize("content", [b"\xff\xff", b"no graph at all", b""])
def test_a_file_that_is_no_graph_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "language_model.onnx"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"language_model.onnx: not an ONNX graph"):
        language_model_source(path, 8, onnxruntime.SessionOptions())
