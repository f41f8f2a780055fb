"""What TensorRT made of a graph, from its own log: which attentions and packed products it fused, and how many kernels.

The log is the builder's at VERBOSE, with detailed profiling; its format is that of TensorRT for RTX 1.7 and TensorRT 10.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from glus_edge.runtime.onnx_rewrite.edit import inputs_of
from glus_edge.runtime.onnx_rewrite.model import parse_model
from glus_edge.runtime.onnx_rewrite.onnx_fields import DataType, GraphProto, NodeProto, TensorProto
from glus_edge.runtime.onnx_rewrite.protobuf import every, number_of, parse, text

_LAYER = re.compile(r"^Name: (?P<name>[^,\n]+?)(?:_myl\d+_\d+)?, LayerType: (?P<kind>\w+)(?P<rest>.*)$", re.MULTILINE)
_NO_KERNEL = frozenset({"shape_call", "wait", "signal"})
_PACKED = {DataType.INT4: "Int4", DataType.FLOAT8E4M3FN: "FP8"}  # as the log calls them
# The parts that names of generated kernels are made of which compute nothing.
_MOVING = frozenset({"Tran", "Resh", "Move", "Slic", "Conc", "Repl", "Copy"})
_GENERATED = "__myl_"


class Layer(NamedTuple):
    """One line of the engine's layers."""

    name: str  # without the compiler's number
    kind: str
    types: frozenset[str]  # of its inputs, constants and outputs

    @property
    def moves_only(self) -> bool:
        """Whether it rearranges numbers and computes none."""
        if self.kind == "reformat":
            return True
        parts = re.findall(r"[A-Z][a-z]+", self.name.removeprefix(_GENERATED))
        return self.name.startswith(_GENERATED) and bool(parts) and set(parts) <= _MOVING


class GraphFusion(NamedTuple):
    """Counts of one graph."""

    attentions: int  # in the ONNX graph: one softmax each
    fused_attentions: int
    packed: int  # products of the ONNX graph whose weights are int4 or fp8
    fused_packed: int  # that read the packed weights in the kernel that multiplies
    kernels: int
    moving: int  # of them: reformats, transposes and the like, which compute nothing


def graph_fusion(model: bytes, log: Iterable[str]) -> GraphFusion:
    """Counts from a serialised ONNX model, external weights left aside, and the messages of its compilation."""
    attentions, packed = _wanted(model)
    layers = [layer for layer in _layers(log) if layer.kind not in _NO_KERNEL]
    names = frozenset(_PACKED.values())
    return GraphFusion(
        attentions=attentions,
        fused_attentions=sum("_mha_" in layer.name for layer in layers),
        packed=packed,
        fused_packed=sum(bool(names & layer.types) and _multiplies(layer) for layer in layers),
        kernels=len(layers),
        moving=sum(layer.moves_only for layer in layers),
    )


def report_lines(graph: str, fusion: GraphFusion) -> Iterator[str]:
    """One line for people."""
    packed = f", {fusion.fused_packed} of {fusion.packed} packed products fused" if fusion.packed else ""
    yield (
        f"{graph:<18}{fusion.fused_attentions} of {fusion.attentions} attentions fused{packed}; {fusion.kernels} kernels, "
        f"{fusion.moving} of them only move"
    )


def _wanted(model: bytes) -> tuple[int, int]:
    """Attentions, and products with packed weights."""
    graph = parse_model(model).graph
    packed = {
        text(tensor, TensorProto.NAME)
        for tensor in map(parse, every(graph, GraphProto.INITIALIZER))
        if number_of(tensor, TensorProto.DATA_TYPE) in _PACKED
    }
    nodes = [parse(node) for node in every(graph, GraphProto.NODE)]
    kinds = [text(node, NodeProto.OP_TYPE) for node in nodes]
    unpacked = sum(
        kind == "DequantizeLinear" and inputs_of(node)[0] in packed for kind, node in zip(kinds, nodes, strict=True)
    )
    return kinds.count("Softmax"), unpacked


def _layers(log: Iterable[str]) -> Iterator[Layer]:
    for message in log:
        for found in _LAYER.finditer(message):
            types = frozenset(re.findall(r"Datatype: (\w+)", found["rest"]))
            yield Layer(found["name"], found["kind"], types)


def _multiplies(layer: Layer) -> bool:
    return layer.kind == "gemm" or "Fc" in re.findall(r"[A-Z][a-z]+", layer.name.removeprefix(_GENERATED))
