"""Graphs with some nodes raised to float32: checked by the onnx package, run by ONNX Runtime, compiled by TensorRT."""

import numpy as np
import onnx
import onnxruntime
import pytest

from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.signatures import GRAPHS
from glus_edge.runtime.onnx_rewrite.encoder_blocks import BLOCKS, image_encoder_blocks
from glus_edge.runtime.onnx_rewrite.mixed_precision import model_with_float32_nodes
from glus_edge.runtime.onnx_rewrite.model import parse_model
from glus_edge.runtime.onnx_rewrite.value_types import float16_values
from glus_edge.runtime.tensorrt.library import load_tensorrt
from glus_edge.runtime.tensorrt.plan import BuildSettings, plan_from_onnx

pytestmark = pytest.mark.torch  # the bundle is exported first

HALF, FULL = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT


@pytest.fixture(scope="module")
def bundle(golden_bundle_fp16):
    return Bundle.open(golden_bundle_fp16)


@pytest.fixture(scope="module")
def source(bundle):
    return bundle.graph_path("image_encoder").read_bytes()


@pytest.mark.parametrize("graph", GRAPHS)
def test_half_values_are_those_onnx_infers(bundle, graph):
    content = bundle.graph_path(graph).read_bytes()
    inferred = onnx.shape_inference.infer_shapes(onnx.load_from_string(content)).graph
    wanted = {tensor.name for tensor in inferred.initializer if tensor.data_type == HALF}
    for value in (*inferred.input, *inferred.output, *inferred.value_info):
        if value.type.tensor_type.elem_type == HALF:
            wanted.add(value.name)
    assert float16_values(parse_model(content).graph) == wanted


def test_every_block_is_found_and_none_is_the_whole_graph(source):
    blocks = image_encoder_blocks(source)
    nodes = {node.name: node.op_type for node in onnx.load_from_string(source).graph.node}
    assert tuple(blocks) == BLOCKS
    assert all(names <= set(nodes) and len(names) < len(nodes) / 2 for names in blocks.values())
    kinds = {block: {nodes[name] for name in names} for block, names in blocks.items()}
    assert kinds["attention"] == {"Mul", "MatMul", "Cast", "Softmax"}
    assert kinds["residual"] == {"Add", "LayerNormalization", "Cast"}
    assert sum(nodes[name] == "Softmax" for name in blocks["global blocks"]) == 2  # blocks 2 and 4, as configured
    assert "MaxPool" not in kinds["first stage"]
    assert "Resize" in kinds["neck"]
    assert not blocks["neck"] & (blocks["attention"] | blocks["residual"] | blocks["global blocks"])


@pytest.mark.parametrize("block", BLOCKS)
def test_a_raised_block_computes_in_float32_and_nothing_else_changes(source, block):
    names = image_encoder_blocks(source)[block]
    before, after = onnx.load_from_string(source), onnx.load_from_string(model_with_float32_nodes(source, names))
    onnx.checker.check_model(after, full_check=True)
    assert list(after.graph.input) == list(before.graph.input)
    assert list(after.graph.output) == list(before.graph.output)
    inferred = onnx.shape_inference.infer_shapes(after).graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*inferred.value_info, *inferred.input, *inferred.output)}
    kept = {node.name: node for node in before.graph.node if node.name not in names}
    for node in after.graph.node:
        if node.name in kept:
            assert node == kept[node.name]
        elif node.name in names:
            assert FULL in {types[name] for name in node.output}
            assert HALF not in {types[name] for name in node.output}


def test_nothing_raised_is_the_same_graph(source):
    assert onnx.load_from_string(model_with_float32_nodes(source, ())) == onnx.load_from_string(source)


def test_a_sum_beyond_half_precision_survives_between_raised_nodes():
    value = onnx.helper.make_tensor_value_info
    nodes = [
        onnx.helper.make_node("Add", ["x", "x"], ["twice"], name="sum"),
        onnx.helper.make_node("Mul", ["twice", "quarter"], ["y"], name="scaled"),
        onnx.helper.make_node("Identity", ["twice"], ["z"], name="other"),
    ]
    quarter = onnx.numpy_helper.from_array(np.array(0.25, np.float16), "quarter")
    outputs = [value("y", HALF, [1]), value("z", HALF, [1])]
    graph = onnx.helper.make_graph(nodes, "g", [value("x", HALF, [1])], outputs, [quarter])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    content = model_with_float32_nodes(model.SerializeToString(), ["sum", "scaled"])
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    y, z = session.run(None, {"x": np.array([60000], np.float16)})
    assert y == 30000  # 120000 on the way
    assert np.isinf(z)  # who reads it in half sees what half can hold


@pytest.mark.parametrize("block", BLOCKS)
def test_a_graph_with_a_raised_block_computes_the_same(bundle, source, block):
    names = [tensor.name for tensor in bundle.signature("image_encoder").outputs]
    side = bundle.manifest.model.image_size
    pixels = {"sam_pixels": np.random.default_rng(1).normal(size=(1, 3, side, side)).astype(np.float32)}
    raised = model_with_float32_nodes(source, image_encoder_blocks(source)[block])
    sessions = [onnxruntime.InferenceSession(m, providers=["CPUExecutionProvider"]) for m in (source, raised)]
    for half, more in zip(*(session.run(names, pixels) for session in sessions), strict=True):
        assert np.linalg.norm(more.astype(np.float64) - half) <= 5e-3 * np.linalg.norm(half.astype(np.float64))


@pytest.mark.tensorrt_rtx
@pytest.mark.parametrize("block", BLOCKS)
def test_a_graph_with_a_raised_block_compiles(bundle, source, tmp_path, block):
    path = tmp_path / "image_encoder.onnx"
    path.write_bytes(model_with_float32_nodes(source, image_encoder_blocks(source)[block]))
    settings = BuildSettings(compute_capability="8.9")
    signature = bundle.signature("image_encoder")
    assert plan_from_onnx(load_tensorrt("tensorrt-rtx"), "image_encoder", path, signature, settings).layers > 100
