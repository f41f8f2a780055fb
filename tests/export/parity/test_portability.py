import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from glus_edge.export.parity.portability import portability_findings

pytestmark = pytest.mark.torch

FLOATS = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4])


def findings(tmp_path, nodes, constants=(), opset=20, ir_version=10, values=(FLOATS,)):
    graph = helper.make_graph(
        list(nodes), "g", list(values), [helper.make_empty_tensor_value_info("y")], list(constants)
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
    onnx.save(model, tmp_path / "m.onnx")
    return [(finding.rule, finding.node, finding.versions) for finding in portability_findings(tmp_path / "m.onnx")]


def node(operator, *inputs, outputs=("y",), domain="", **attributes):
    return helper.make_node(operator, list(inputs), list(outputs), name="n", domain=domain, **attributes)


def test_a_plain_graph_has_no_finding(tmp_path):
    assert findings(tmp_path, [node("Relu", "x")]) == []


@pytest.mark.parametrize(
    ("rule", "bad", "first_version", "versions"),
    [
        ("standard-domain", node("Gelu", "x", domain="com.microsoft"), "TensorRT 10.3", 4),
        ("operator", node("Unique", "x"), "TensorRT 10.3", 4),
        ("types", node("Cast", "x", to=TensorProto.DOUBLE), "TensorRT 10.3", 4),
        ("types", node("Cast", "x", to=TensorProto.UINT8), "TensorRT 10.3", 4),
        ("resize", node("Resize", "x", "", "s", mode="linear", antialias=1), "TensorRT 10.3", 4),
        ("resize", node("Resize", "x", "", "s", mode="cubic"), "TensorRT 10.3", 4),
        ("scatter-reduction", node("ScatterND", "x", "i", "u", reduction="add"), "TensorRT 10.3", 4),
        ("einsum-ellipsis", node("Einsum", "x", equation="...i->..."), "TensorRT 10.3", 1),
        ("constant-axes", node("ReduceMean", "x", "computed"), "TensorRT 10.3", 4),
        ("sorted-topk", node("TopK", "x", "k", outputs=("y", "z"), sorted=0), "TensorRT 10.3", 4),
        ("maxpool-indices", node("MaxPool", "x", outputs=("y", "z"), kernel_shape=[2]), "TensorRT 10.3", 4),
    ],
)
def test_a_node_some_parser_refuses_is_named(tmp_path, rule, bad, first_version, versions):
    ((found, name, affected),) = findings(tmp_path, [bad])
    assert (found, name, affected[0], len(affected)) == (rule, "n", first_version, versions)


@pytest.mark.parametrize(
    "good",
    [
        node("Resize", "x", "", "s", mode="linear", antialias=0),
        node("Resize", "x", "", "s"),
        node("ScatterND", "x", "i", "u"),
        node("Einsum", "x", equation="ij->ji"),
        node("TopK", "x", "k", outputs=("y", "z")),
        node("MaxPool", "x", kernel_shape=[2]),
        node("Cast", "x", to=TensorProto.FLOAT16),
    ],
)
def test_a_node_every_parser_takes_is_not(tmp_path, good):
    assert findings(tmp_path, [good]) == []


def test_reductions_over_constant_axes_pass(tmp_path):
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    assert findings(tmp_path, [node("ReduceMean", "x", "axes")], [axes]) == []


def test_newer_opset_and_format_are_found(tmp_path):
    assert [rule for rule, _, _ in findings(tmp_path, [node("Relu", "x")], opset=23)] == ["opset"]
    assert [rule for rule, _, _ in findings(tmp_path, [node("Relu", "x")], ir_version=11)] == ["ir-version"]


@pytest.mark.parametrize("dtype", [TensorProto.DOUBLE, TensorProto.COMPLEX64])
def test_inputs_and_constants_of_refused_types_are_found(tmp_path, dtype):
    value = helper.make_tensor_value_info("x", dtype, [2])
    assert findings(tmp_path, [node("Identity", "x")], values=[value])[0][:2] == ("types", "x")
    constant = helper.make_tensor("c", dtype, [1], [1.0])
    assert findings(tmp_path, [node("Identity", "c")], [constant])[0][:2] == ("types", "c")


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_constants_must_be_finite(tmp_path, value, dtype):
    tensor = onnx.numpy_helper.from_array(np.array([1, value], dtype), "c")
    assert findings(tmp_path, [node("Add", "x", "c")], [tensor])[0][:2] == ("finite-constants", "c")
    inside = node("Constant", value=tensor)
    assert findings(tmp_path, [inside])[0][:2] == ("finite-constants", "n")


@pytest.mark.parametrize(
    ("dims", "scales", "zero_point", "rule"),
    [
        ([4, 2], [0.5, 0.5], False, None),
        ([4, 2], [0.5, 0.0], False, "int4-scale"),
        ([4, 2], [0.5, 0.5], True, "int4-symmetric"),
        ([1, 4, 2], [0.5, 0.5], False, "int4-matrix"),
    ],
)
def test_int4_weights_have_the_form_every_version_reads(tmp_path, dims, scales, zero_point, rule):
    weight = helper.make_tensor("w", TensorProto.INT4, dims, [0] * 8)
    scale = helper.make_tensor("s", TensorProto.FLOAT, [1, 2], scales)
    zero = helper.make_tensor("z", TensorProto.INT4, [1, 2], [0, 0])
    inputs = ["w", "s", "z"] if zero_point else ["w", "s"]
    found = findings(
        tmp_path, [node("DequantizeLinear", *inputs, axis=0, block_size=4)], [weight, scale, zero], opset=21
    )
    assert [name for name, _, _ in found] == ([rule] if rule else [])
