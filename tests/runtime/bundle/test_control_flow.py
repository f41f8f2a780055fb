"""Graphs that could run without end are refused, at any depth; what only bears such a name is not."""

import hashlib
import json
import mmap
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.control_flow import control_flow
from glus_edge.runtime.bundle.external_data import external_files
from glus_edge.runtime.bundle.shipped import shipped_bundle
from glus_edge.runtime.bundle.wire_format import parts, whole
from glus_edge.runtime.errors import BundleError

VALUE = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])


def write(path: Path, *nodes: onnx.NodeProto) -> Path:
    model = helper.make_model(helper.make_graph(list(nodes), "graph", [VALUE], [VALUE]))
    path.write_bytes(model.SerializeToString())
    return path


def loop(operator: str = "Loop") -> onnx.NodeProto:
    return helper.make_node(operator, ["x"], ["y"], body=helper.make_graph([], "body", [VALUE], [VALUE]))


@pytest.mark.parametrize("operator", ["Loop", "Scan", "If", "SequenceMap", "BeamSearch"])
def test_an_operator_of_control_flow_is_found(tmp_path: Path, operator: str) -> None:
    assert control_flow(write(tmp_path / "a.onnx", loop(operator))) == {operator}


def test_one_within_another_operators_graph_is_found(tmp_path: Path) -> None:
    inner = helper.make_graph([helper.make_node("Relu", ["x"], ["z"]), loop()], "inner", [VALUE], [VALUE])
    assert control_flow(write(tmp_path / "a.onnx", helper.make_node("Foo", ["x"], ["y"], g=inner))) == {"Loop"}


def test_one_within_a_function_is_found(tmp_path: Path) -> None:
    model = helper.make_model(helper.make_graph([helper.make_node("F", ["x"], ["y"], domain="d")], "g", [VALUE], []))
    model.functions.append(helper.make_function("d", "F", ["x"], ["y"], [loop()], [helper.make_opsetid("", 18)]))
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    assert control_flow(tmp_path / "a.onnx") == {"Loop"}


def test_a_name_is_no_operator(tmp_path: Path) -> None:
    assert control_flow(write(tmp_path / "a.onnx", helper.make_node("Relu", ["Loop"], ["If"], name="Scan"))) == set()


def test_graphs_of_the_shipped_bundle_have_none() -> None:
    assert all(control_flow(path) == set() for path in shipped_bundle().glob("*.onnx"))


def test_a_bundle_with_a_loop_is_refused_at_opening(tmp_path: Path) -> None:
    document = json.loads((shipped_bundle() / "manifest.json").read_text())
    for file in shipped_bundle().iterdir():
        if file.name not in ("manifest.json", "clip_encoder.onnx"):
            (tmp_path / file.name).symlink_to(file)
    content = write(tmp_path / "clip_encoder.onnx", loop()).read_bytes()
    entry = document["graphs"]["clip_encoder"]["graph"]
    entry["sha256"], entry["size_bytes"] = hashlib.sha256(content).hexdigest(), len(content)
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(BundleError, match=r"clip_encoder.onnx: got the operator Loop, which can run without end"):
        Bundle.open(tmp_path)


@pytest.mark.parametrize("read", [control_flow, external_files])
def test_a_cut_graph_is_a_value_error(tmp_path: Path, read: object) -> None:
    content = (shipped_bundle() / "language_model.onnx").read_bytes()
    path = tmp_path / "a.onnx"
    place = content.index(b"location")
    for cut in (place + 3, place + 9, len(content) - 1):
        path.write_bytes(content[:cut] + b"location")
        with pytest.raises(ValueError, match="ends behind|cut off|wire type"):
            read(path)  # type: ignore[operator]


def test_parts_are_those_of_the_onnx_package(tmp_path: Path) -> None:
    path = shipped_bundle() / "mask_decoder.onnx"
    model = onnx.load(path)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        (graph,) = parts(content, whole(content), 7)
        nodes = [onnx.NodeProto.FromString(content[start:stop]) for start, stop in parts(content, graph, 1)]
    assert nodes == list(model.graph.node)
