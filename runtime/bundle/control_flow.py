"""Operators that run graphs within a graph, as often as they like: a bundle's graphs have none."""

import mmap
from collections.abc import Iterator
from pathlib import Path

from glus_edge.runtime.bundle.wire_format import Part, parts, whole

# Field numbers of onnx.proto.
_GRAPH, _FUNCTIONS = 7, 25  # of a model
_NODE, _FUNCTION_NODE = 1, 7
_OP_TYPE, _ATTRIBUTE = 4, 5  # of a node
_SUBGRAPH, _SUBGRAPHS = 6, 11  # of an attribute
OPERATORS = (b"Loop", b"Scan", b"If", b"SequenceMap", b"BeamSearch", b"GreedySearch", b"Sampling")


def control_flow(path: Path) -> set[str]:
    """Those of OPERATORS that a graph uses, at any depth. ValueError: it is no ONNX graph."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as model:
        return {str(name, "ascii") for name in _used(model)}


def _used(model: mmap.mmap) -> Iterator[bytes]:
    for field, of_nodes in ((_GRAPH, _NODE), (_FUNCTIONS, _FUNCTION_NODE)):
        for graph in parts(model, whole(model), field):
            nodes = list(parts(model, graph, of_nodes))
            # The names may stand for other things; nodes are taken apart only where there is one.
            content = b"".join([model[start:stop] for start, stop in nodes])
            if any(name in content for name in OPERATORS):
                for node in nodes:
                    yield from _operators(model, node)


def _operators(model: mmap.mmap, node: Part) -> Iterator[bytes]:
    for start, stop in parts(model, node, _OP_TYPE):
        if model[start:stop] in OPERATORS:
            yield model[start:stop]
    for attribute in parts(model, node, _ATTRIBUTE):
        for field in (_SUBGRAPH, _SUBGRAPHS):
            for graph in parts(model, attribute, field):
                for inner in parts(model, graph, _NODE):
                    yield from _operators(model, inner)
