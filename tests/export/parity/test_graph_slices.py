import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from glus_edge.export.parity.comparison import cpu_session
from glus_edge.export.parity.graph_slices import write_slices
from glus_edge.runtime.errors import CheckpointError

pytestmark = pytest.mark.torch

GENERATOR = np.random.default_rng(0)
WEIGHTS = {name: GENERATOR.normal(size=(3, 3)).astype(np.float32) for name in "abc"}


@pytest.fixture
def chain(tmp_path):
    """x -> first -> second -> y, with a branch that every part needs and an output in the middle."""
    nodes = [
        helper.make_node("Exp", ["x"], ["shared"]),
        helper.make_node("MatMul", ["x", "a"], ["product"]),
        helper.make_node("Add", ["product", "shared"], ["first"]),
        helper.make_node("MatMul", ["first", "b"], ["aside"]),
        helper.make_node("Add", ["aside", "shared"], ["second"]),
        helper.make_node("MatMul", ["second", "c"], ["y"]),
    ]
    value = helper.make_tensor_value_info
    outputs = [value(name, TensorProto.FLOAT, [2, 3]) for name in ("y", "aside")]
    weights = [numpy_helper.from_array(array, name) for name, array in WEIGHTS.items()]
    graph = helper.make_graph(nodes, "chain", [value("x", TensorProto.FLOAT, [2, 3])], outputs, weights)
    path = tmp_path / "chain.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(model, path, save_as_external_data=True, location="chain.onnx.data", size_threshold=0)
    return path


def test_slices_one_after_the_other_compute_what_the_graph_does(chain):
    x = GENERATOR.normal(size=(2, 3)).astype(np.float32)
    names = ["y", "aside"]
    expected = dict(zip(names, cpu_session(chain).run(names, {"x": x}), strict=True))
    known = {"x": x}
    for piece in write_slices(chain, ["first", "second"]):
        session = cpu_session(piece)
        outputs = [output.name for output in session.get_outputs()]
        inputs = {value.name: known[value.name] for value in session.get_inputs()}
        known |= dict(zip(outputs, session.run(outputs, inputs), strict=True))
    for name in names:
        np.testing.assert_allclose(known[name], expected[name], rtol=1e-5)


def test_each_slice_holds_its_own_weights_alone_and_is_removed(chain):
    held = [
        {tensor.name for tensor in onnx.load(piece, load_external_data=False).graph.initializer}
        for piece in write_slices(chain, ["first", "second"])
    ]
    assert held == [{"a"}, {"b"}, {"c"}]
    assert {path.name for path in chain.parent.iterdir()} == {"chain.onnx", "chain.onnx.data"}


def test_a_cut_that_the_graph_does_not_have_is_refused(chain):
    with pytest.raises(CheckpointError, match="got no value third"):
        next(write_slices(chain, ["third"]))
