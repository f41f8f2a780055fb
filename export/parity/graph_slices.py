"""A graph in slices, one after the other, so that only the weights of one slice are in memory at a time."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from glus_edge.runtime.errors import CheckpointError


def write_slices(path: Path, cuts: Sequence[str]) -> Iterator[Path]:
    """Graphs that one after the other compute what `path` does; each is removed when the next is asked for.

    cuts: names of float32 values in the order they are computed; each is an output of one slice and an input of the
    next. Whatever else slices share, each computes from the graph's inputs. Weights stay in the file beside `path`.
    Raises CheckpointError where the graph has no value of such a name.
    """
    model = onnx.load(str(path), load_external_data=False)
    graph, piece = model.graph, path.with_name(f".{path.stem}.slice.onnx")
    made = {output for node in graph.node for output in node.output}
    if missing := [cut for cut in cuts if cut not in made]:
        raise CheckpointError(f"{path}: got no value {missing[0]}, expected one to cut the graph at; export it again")
    outputs = {value.name: value for value in graph.output}
    values = {cut: helper.make_tensor_value_info(cut, TensorProto.FLOAT, None) for cut in cuts}
    before: list[str] = []
    try:
        for cut in (*cuts, None):
            nodes = _leading_to(graph, [cut] if cut else list(outputs), before)
            reached = {output for node in nodes for output in node.output}
            read = {name for node in nodes for name in node.input}
            part = helper.make_graph(
                nodes,
                f"{graph.name} to {cut or 'the end'}",
                [value for value in (*graph.input, *(values[name] for name in before)) if value.name in read],
                [*([values[cut]] if cut else []), *(outputs.pop(name) for name in list(outputs) if name in reached)],
                [tensor for tensor in graph.initializer if tensor.name in read],
            )
            whole = helper.make_model(part, opset_imports=model.opset_import, ir_version=model.ir_version)
            piece.write_bytes(whole.SerializeToString())
            yield piece
            before = [cut] if cut else []
    finally:
        piece.unlink(missing_ok=True)


def _leading_to(graph: onnx.GraphProto, wanted: Sequence[str], given: Sequence[str]) -> list[onnx.NodeProto]:
    """The nodes that compute `wanted` from the graph's inputs and the values `given`, in the graph's order."""
    names, nodes = set(wanted), []
    for node in reversed(graph.node):  # sorted: whatever reads a node's outputs comes behind it
        if names.intersection(node.output).difference(given):
            nodes.append(node)
            names.update(node.input)
    return nodes[::-1]
