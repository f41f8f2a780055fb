import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from glus_edge.calibration.methods.graph_matrices import graph_matrices, unit_of
from glus_edge.calibration.methods.qdq import EightBits, rounded_inputs, rounded_weights, with_eight_bits
from glus_edge.calibration.statistics.tensor_probe import observe

pytestmark = pytest.mark.torch


def small_model(dtype=np.float32):
    """pixels -> Conv 4x4 -> tokens -> norm -> two MatMuls of one value -> sum -> Conv 1x1."""
    rng = np.random.default_rng(0)
    weights = {
        "patch.weight": rng.standard_normal((32, 3, 4, 4)) * 0.2,
        "blocks.0.a.weight": rng.standard_normal((32, 48)),
        "blocks.0.b.weight": rng.standard_normal((32, 48)) * 3,
        "out.weight": rng.standard_normal((16, 48, 1, 1)),
        "norm.scale": np.ones(32),
        "bias": rng.standard_normal(48),
    }
    nodes = [
        helper.make_node("Conv", ["pixels", "patch.weight"], ["patches"], strides=[4, 4], kernel_shape=[4, 4]),
        helper.make_node("Transpose", ["patches"], ["tokens"], perm=[0, 2, 3, 1]),
        helper.make_node("LayerNormalization", ["tokens", "norm.scale"], ["normal"]),
        helper.make_node("MatMul", ["normal", "blocks.0.a.weight"], ["a"]),
        helper.make_node("MatMul", ["normal", "blocks.0.b.weight"], ["b"]),
        helper.make_node("Add", ["bias", "b"], ["b_biased"]),  # ONNX Runtime makes a Gemm of the two
        helper.make_node("Add", ["a", "b_biased"], ["sum"]),
        helper.make_node("Transpose", ["sum"], ["map"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["map", "out.weight"], ["features"], kernel_shape=[1, 1]),
    ]
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("pixels", kind, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("features", kind, [1, 16, 8, 8])],
        [numpy_helper.from_array(value.astype(dtype), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def run(model, pixels):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"pixels": pixels})[0]


PIXELS = np.random.default_rng(1).standard_normal((1, 3, 32, 32)).astype(np.float32)
REACH = {"blocks.0.a.weight": 4.0, "blocks.0.b.weight": 4.0, "out.weight": 60.0}


def choices(precision, *names):
    return {name: EightBits(precision, REACH[name]) for name in names or REACH}


def test_matrices_are_all_weights_but_those_that_read_pixels():
    found = graph_matrices(small_model())
    assert [(matrix.name, matrix.value, matrix.unit) for matrix in found] == [
        ("blocks.0.a.weight", "normal", "blocks.0"),
        ("blocks.0.b.weight", "normal", "blocks.0"),
        ("out.weight", "map", "out"),
    ]
    assert unit_of("model.layers.11.mlp.up_proj.weight") == "model.layers.11"


@pytest.mark.parametrize(("precision", "bound"), [("int8", 2e-2), ("fp8", 6e-2)])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_products_in_eight_bits_stay_near_and_differ(precision, bound, dtype):
    model = small_model(dtype)
    edited = with_eight_bits(model, graph_matrices(model), choices(precision))
    onnx.checker.check_model(edited, full_check=True)
    whole, rounded = (run(each, PIXELS.astype(dtype)).astype(np.float64) for each in (model, edited))
    error = np.linalg.norm(rounded - whole) / np.linalg.norm(whole)
    assert 1e-4 < error < bound
    assert graph_matrices(model)  # the model given is left as it was


def test_one_pair_serves_all_that_read_a_value_alike():
    model = small_model()
    pairs = [
        node.name
        for node in with_eight_bits(model, graph_matrices(model), choices("int8")).graph.node
        if node.op_type == "QuantizeLinear"
    ]
    assert pairs == ["normal/int8/quantised", "map/int8/quantised"]
    apart = choices("int8") | {"blocks.0.b.weight": EightBits("int8", 3.0)}
    edited = with_eight_bits(model, graph_matrices(model), apart)
    onnx.checker.check_model(edited, full_check=True)
    assert [node.op_type for node in edited.graph.node].count("QuantizeLinear") == 3


def test_only_standard_operators_and_only_weights_and_their_inputs_are_touched():
    model = small_model()
    edited = with_eight_bits(model, graph_matrices(model), choices("int8"))
    assert {node.domain for node in edited.graph.node} == {""}
    assert [(entry.domain, entry.version) for entry in edited.opset_import] == [("", 19)]
    added = [node.op_type for node in edited.graph.node if node.op_type not in {n.op_type for n in model.graph.node}]
    assert sorted(set(added)) == ["DequantizeLinear", "QuantizeLinear"]
    stored = {tensor.name: tensor.data_type for tensor in edited.graph.initializer}
    assert stored["blocks.0.a.weight"] == stored["out.weight"] == TensorProto.INT8
    assert stored["patch.weight"] == TensorProto.FLOAT


def test_the_graph_computes_what_the_estimate_rounds():
    model = small_model()
    (matrix, *_) = graph_matrices(model)
    edited = with_eight_bits(model, [matrix], choices("int8", matrix.name))
    normal, a = (value for _, value in observe(model, ["normal", "a"], [{"pixels": PIXELS}]))
    weights = numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == matrix.name))
    wanted = rounded_inputs(normal, EightBits("int8", 4.0)) @ rounded_weights(weights, 1, "int8")
    (found,) = (value for _, value in observe(edited, ["a"], [{"pixels": PIXELS}]))
    assert np.linalg.norm(found - wanted) / np.linalg.norm(a) < 1e-3


def test_tensors_that_do_not_fit_are_seen_in_turns():
    model = small_model()
    feeds = [{"pixels": PIXELS}, {"pixels": 2 * PIXELS}]
    together = {(name, value.tobytes()) for name, value in observe(model, ["normal", "a", "map"], feeds)}
    in_turns = [(name, value.tobytes()) for name, value in observe(model, ["normal", "a", "map"], feeds, limit_bytes=1)]
    assert [name for name, _ in in_turns] == ["normal", "normal", "a", "a", "map", "map"]
    assert set(in_turns) == together
