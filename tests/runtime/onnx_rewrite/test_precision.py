"""Rewritten graphs, checked by the onnx package and run by ONNX Runtime."""

import numpy as np
import onnx
import onnxruntime
import pytest

from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.signatures import GRAPHS
from glus_edge.runtime.errors import EngineError
from glus_edge.runtime.onnx_rewrite.precision import model_in_precision
from glus_edge.runtime.onnx_rewrite.protobuf import parse, serialise
from glus_edge.runtime.tensorrt.library import load_tensorrt
from glus_edge.runtime.tensorrt.plan import BuildSettings, plan_from_onnx

pytestmark = pytest.mark.torch  # the bundle is exported first

HALF, FULL = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
VISION = [graph for graph in GRAPHS if graph != "language_model"]


@pytest.mark.parametrize("graph", VISION)
def test_a_rewritten_graph_is_valid_and_computes_nothing_in_half(golden_bundle_fp16, graph):
    path = Bundle.open(golden_bundle_fp16).graph_path(graph)
    before, after = onnx.load(path), onnx.load_from_string(model_in_precision(path.read_bytes(), "fp32"))
    onnx.checker.check_model(after, full_check=True)
    assert [(i.name, i.type) for i in after.graph.input] == [(i.name, i.type) for i in before.graph.input]
    assert [(o.name, o.type) for o in after.graph.output] == [(o.name, o.type) for o in before.graph.output]
    weights = {tensor.name for tensor in after.graph.initializer if tensor.data_type == HALF}
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in onnx.shape_inference.infer_shapes(after).graph.value_info
    }
    for node in after.graph.node:
        if node.op_type == "Cast":
            continue
        assert not weights & set(node.input), node.name
        assert HALF not in {types.get(name) for name in node.output}, node.name
    assert FULL in types.values()


@pytest.mark.tensorrt_rtx
@pytest.mark.parametrize("graph", [graph for graph in GRAPHS if graph != "mask_decoder"])
def test_in_bfloat16_it_compiles(golden_bundle_fp16, graph):
    # ONNX allows bfloat16 convolutions from opset 22 on, so its checker has no say here; TensorRT's parser takes them
    assert compiled(golden_bundle_fp16, graph).layers > 100


@pytest.mark.tensorrt_rtx
def test_the_mask_decoders_transposed_convolution_has_no_bfloat16_form(golden_bundle_fp16):
    with pytest.raises(EngineError, match="deconv"):
        compiled(golden_bundle_fp16, "mask_decoder")


def compiled(folder, graph):
    bundle = Bundle.open(folder)
    source = bundle.graph_path(graph)
    rewritten = source.with_name(f".{graph}.bf16.onnx")
    rewritten.write_bytes(model_in_precision(source.read_bytes(), "bf16"))
    settings = BuildSettings(compute_capability="8.9")
    try:
        return plan_from_onnx(load_tensorrt("tensorrt-rtx"), graph, rewritten, bundle.signature(graph), settings)
    finally:
        rewritten.unlink()


@pytest.mark.parametrize("graph", GRAPHS)
def test_in_float32_it_computes_the_float32_graph_up_to_the_weights_rounding(golden_bundle, golden_bundle_fp16, graph):
    half, full = Bundle.open(golden_bundle_fp16), Bundle.open(golden_bundle)
    source = half.graph_path(graph)
    rewritten = source.with_name(f".{graph}.test.onnx")
    rewritten.write_bytes(model_in_precision(source.read_bytes(), "fp32"))
    inputs = example(full, graph)
    try:
        got = run(rewritten, half, graph, inputs)
    finally:
        rewritten.unlink()
    for name, wanted in run(full.graph_path(graph), full, graph, inputs).items():
        if wanted.dtype.kind == "f" and name not in ("mask_logits", "predicted_iou"):
            error = np.linalg.norm(got[name].astype(np.float32) - wanted) / np.linalg.norm(wanted)
            assert error < 3e-3, name


def example(bundle, graph):
    generator = np.random.default_rng(3)
    sizes = {"prefix_tokens": 5, "past_tokens": 3, "new_tokens": 4, "all_tokens": 12}
    inputs = {}
    for tensor in bundle.signature(graph).inputs:
        shape = [sizes.get(size, 2) if isinstance(size, str) else size for size in tensor.shape]
        values = np.zeros(shape) if tensor.dtype == "int32" or "mask" in tensor.name else generator.normal(size=shape)
        # what both precisions can hold
        inputs[tensor.name] = values.astype(np.float16)
    return inputs


def run(path, bundle, graph, inputs):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    signature = bundle.signature(graph)
    typed = {tensor.name: inputs[tensor.name].astype(tensor.dtype) for tensor in signature.inputs}
    names = [tensor.name for tensor in signature.outputs]
    return dict(zip(names, session.run(names, typed), strict=True))


def test_quantised_weights_keep_their_scales_as_constants(golden_bundle, tmp_path):
    from glus_edge.export.checkpoint.checkpoint import Checkpoint
    from glus_edge.export.language.graph import write_language_model
    from tests.runtime.golden import GOLDEN

    path = tmp_path / "language_model.onnx"
    model = Bundle.open(golden_bundle).manifest.model
    write_language_model(Checkpoint.open(GOLDEN / "checkpoint"), model, path, "float16", "int4")
    rewritten = tmp_path / "rewritten.onnx"
    rewritten.write_bytes(model_in_precision(path.read_bytes(), "fp32"))
    onnx.checker.check_model(str(rewritten), full_check=True)
    graph = onnx.load(rewritten, load_external_data=False).graph
    constants = {tensor.name for tensor in graph.initializer}
    dequantised = [node for node in graph.node if node.op_type == "DequantizeLinear"]
    assert dequantised
    assert all(set(node.input) <= constants for node in dequantised)

    # for ONNX Runtime, which then multiplies with the matrices as they are stored
    rewritten.write_bytes(model_in_precision(path.read_bytes(), "fp32", cast_scales=True))
    onnx.checker.check_model(str(rewritten), full_check=True)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "optimised.data")
    onnxruntime.InferenceSession(str(rewritten), options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx", load_external_data=False).graph.node]
    assert kinds.count("MatMulNBits") == len(dequantised)
    assert "DequantizeLinear" not in kinds


def test_any_model_comes_back_byte_for_byte_when_nothing_is_changed(golden_bundle):
    for graph in GRAPHS:
        content = Bundle.open(golden_bundle).graph_path(graph).read_bytes()
        assert serialise(parse(content)) == content
    assert parse(b"") == []


@pytest.mark.parametrize("content", [b"\x08", b"\x0a\x05ab", b"\x0b", b"\x08" + b"\xff" * 11])
def test_what_is_no_message_is_refused(content):
    with pytest.raises(ValueError, match="field|number"):
        parse(content)
