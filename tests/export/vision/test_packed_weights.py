import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from glus_edge.export.vision.packed_weights import SMALLEST_WEIGHTS, pack_weights, packed, round_weights

pytestmark = pytest.mark.torch


@given(
    hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=4, max_side=6), elements=st.floats(-9, 9, width=32))
)
def test_a_weight_moves_by_half_a_step_of_its_channel_at_most(weights):
    for axis in range(weights.ndim):
        values, scales = packed(weights, axis)
        shape = [-1 if i == axis else 1 for i in range(weights.ndim)]
        steps = scales.reshape(shape)
        assert (np.abs(values * steps - weights) <= steps * 0.5001).all()
        assert (scales > 0).all()


def a_module() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(8, 64, 3), nn.ConvTranspose2d(64, 32, 2, 2), nn.Flatten(2), nn.Linear(144, 64))


def a_graph(module: nn.Sequential) -> onnx.ModelProto:
    weights = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    weights["3.weight"] = weights["3.weight"].T.copy()
    nodes = [
        helper.make_node("Conv", ["x", "0.weight", "0.bias"], ["a"]),
        helper.make_node("ConvTranspose", ["a", "1.weight", "1.bias"], ["b"], strides=[2, 2]),
        helper.make_node("Flatten", ["b"], ["c"], axis=2),
        helper.make_node("MatMul", ["c", "3.weight"], ["d"]),
        helper.make_node("Add", ["d", "3.bias"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [32, 64])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_a_packed_graph_is_a_quarter_of_the_size_and_computes_what_the_rounded_module_does(tmp_path):
    module, pixels = a_module(), torch.randn(1, 8, 8, 8)
    round_weights(module)
    # Flatten(2) of the module keeps channels apart; ONNX's joins them with the batch: the same rows.
    expected = module(pixels).detach().numpy().reshape(-1)
    path = tmp_path / "graph.onnx"
    path.write_bytes(a_graph(module).SerializeToString())
    before = path.stat().st_size
    pack_weights(path)
    assert path.stat().st_size < 0.35 * before
    onnx.checker.check_model(onnx.load(str(path)), full_check=True)
    stored = {tensor.name: tensor.data_type for tensor in onnx.load(str(path)).graph.initializer}
    assert stored["0.weight/int8"] == stored["1.weight/int8"] == stored["3.weight/int8"] == TensorProto.INT8
    settings = onnxruntime.SessionOptions()
    settings.add_session_config_entry("session.disable_quant_qdq", "1")  # as the runtime loads it
    session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    got = session.run(None, {"x": pixels.numpy()})[0].reshape(-1)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_rounding_twice_is_rounding_once():
    module = a_module()
    round_weights(module)
    once = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    round_weights(module)
    for name, tensor in module.state_dict().items():
        torch.testing.assert_close(tensor, once[name], rtol=1e-6, atol=0)


def test_small_weights_and_biases_stay_as_they_are():
    module = nn.Linear(8, SMALLEST_WEIGHTS // 8 - 1)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    round_weights(module)
    for name, tensor in module.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)
