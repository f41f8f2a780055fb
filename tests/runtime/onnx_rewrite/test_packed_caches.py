"""The packed graph computes what the exported one does, whatever lies in places that hold no row."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.shipped import shipped_bundle
from glus_edge.runtime.bundle.signatures import MASKED
from glus_edge.runtime.engine_build.float32_reference import RecordedCall
from glus_edge.runtime.engine_build.packed_call import packed_call
from glus_edge.runtime.onnx_rewrite.packed_caches import model_with_packed_caches, new_token_sizes, packed_signature
from tests.runtime.onnx_rewrite.test_fused_rotary import inputs

SIZES = (8, 24)


def opened(model: bytes, folder: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")  # activations stay float32
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def pair(folder: Path):  # type: ignore[no-untyped-def]
    bundle = Bundle.open(folder)
    path, signature = bundle.graph_path("language_model"), packed_signature(bundle.signature("language_model"), SIZES)
    model = path.read_bytes()
    return opened(model, path.parent), opened(model_with_packed_caches(model, signature), path.parent), signature


@pytest.fixture(scope="module")
def shipped():  # type: ignore[no-untyped-def]
    return pair(shipped_bundle())


def check(sessions, sentences, prefix, past, new, seed, tolerance) -> None:  # type: ignore[no-untyped-def]
    exact, packed, signature = sessions
    feeds = inputs(exact, sentences, prefix, past, new, seed)
    feeds["past_positions"] = np.abs(feeds["past_positions"])
    rng = np.random.default_rng(seed)
    pads = rng.integers(0, new, sentences)  # sentences of different length are padded on the left
    for sentence, pad in enumerate(pads):
        hidden = feeds["attention_mask"][sentence, :, prefix + past : prefix + past + pad]
        hidden[:] = np.where(np.eye(new, pad, dtype=bool), np.float32(0), np.float32(MASKED))
    names = [output.name for output in exact.get_outputs()]
    made = dict(zip(names, exact.run(None, feeds), strict=True))
    call = packed_call(RecordedCall(feeds, made), signature)
    given_inputs = dict(call.inputs)
    nothing = np.broadcast_to((given_inputs["positions"] < 0)[..., None], given_inputs["inputs_embeds"].shape)
    given_inputs["inputs_embeds"] = np.where(nothing, np.float32(np.nan), given_inputs["inputs_embeds"])
    found = dict(zip([o.name for o in packed.get_outputs()], packed.run(None, given_inputs), strict=True))
    assert set(found) == set(call.outputs)
    for name, wanted in call.outputs.items():
        scale = max(1.0, float(np.linalg.norm(wanted.astype(np.float64))))
        assert float(np.linalg.norm(found[name].astype(np.float64) - wanted)) / scale < tolerance, name


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.integers(0, 12), st.integers(0, 12), st.integers(1, 24), st.integers(0, 99))
def test_every_output_is_that_of_the_exported_graph(shipped, sentences, prefix, past, new, seed):  # type: ignore[no-untyped-def]
    check(shipped, sentences, prefix, past, new, seed, 1e-4)


@pytest.mark.torch
def test_the_golden_language_model_is_packed(golden_bundle: Path) -> None:
    check(pair(golden_bundle), 2, 5, 7, 9, 1, 1e-4)


@pytest.mark.torch
def test_caches_of_half_precision_stay_so(golden_bundle_fp16: Path) -> None:
    _, packed, signature = pair(golden_bundle_fp16)
    types = {tensor.name: tensor.type for tensor in (*packed.get_inputs(), *packed.get_outputs())}
    assert [types[name] for name in ("prefix", "past", "new")] == ["tensor(float16)"] * 3
    assert len(types) == len(signature.inputs) + len(signature.outputs) == 8


def test_a_graph_of_another_kind_is_refused() -> None:
    bundle = Bundle.open(shipped_bundle())
    signature = packed_signature(bundle.signature("language_model"), SIZES)
    with pytest.raises(ValueError, match="no language model as export writes it"):
        model_with_packed_caches(bundle.graph_path("mask_decoder").read_bytes(), signature)


@pytest.mark.parametrize(("largest", "sizes"), [(640, (128, 448, 640)), (448, (128, 448)), (100, (100,)), (1, (1,))])
def test_the_largest_size_is_the_limit(largest: int, sizes: tuple[int, ...]) -> None:
    assert new_token_sizes(largest) == sizes
