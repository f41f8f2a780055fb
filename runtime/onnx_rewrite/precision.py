"""A float16 ONNX graph that computes in bfloat16 or float32 instead; its inputs, outputs and weights stay float16.

What a build falls back to where half precision is wrong on a device. Weights are cast in the graph: their file, which
may hold gigabytes, is shared, and a compiler folds the casts away.
"""

from glus_edge.runtime.bundle.precisions import BF16, FP32
from glus_edge.runtime.onnx_rewrite.edit import graph_with_nodes, make_cast
from glus_edge.runtime.onnx_rewrite.model import parse_model
from glus_edge.runtime.onnx_rewrite.onnx_fields import (
    AttributeProto,
    DataType,
    GraphProto,
    NodeProto,
    TensorProto,
)
from glus_edge.runtime.onnx_rewrite.protobuf import (
    BYTES,
    VARINT,
    Field,
    Message,
    every,
    number_of,
    parse,
    serialise,
    string,
    text,
)
from glus_edge.runtime.onnx_rewrite.value_types import declared_float16, makes_float16_constant

_DATA_TYPES = {FP32: DataType.FLOAT, BF16: DataType.BFLOAT16}


def model_in_precision(model: bytes, precision: str, *, cast_scales: bool = False) -> bytes:
    """The serialised model with every float16 computation in 'fp32' or 'bf16'; unchanged if it has none.

    An int4 matrix's scales stay float16 constants, as TensorRT wants them, and its product is cast. `cast_scales`
    casts the scales instead: ONNX Runtime multiplies such a matrix as it is stored, where it would unpack the other
    whole in every run.
    """
    parsed = parse_model(model)
    return parsed.with_graph(_PrecisionRewrite(parsed.graph, _DATA_TYPES[precision], cast_scales).graph())


def with_cast_target(node: Message, target: int) -> Message:
    """A Cast to another type."""
    return [_with_target(field, target) for field in node]


class _PrecisionRewrite:
    """One graph: names of float16 tensors that come from outside are replaced by names of their casts."""

    def __init__(self, graph: Message, target: int, cast_scales: bool) -> None:
        self._graph, self._target = graph, target
        types = {
            text(tensor, TensorProto.NAME): number_of(tensor, TensorProto.DATA_TYPE)
            for tensor in map(parse, every(graph, GraphProto.INITIALIZER))
        }
        self._halves = {name for name, kind in types.items() if kind == DataType.FLOAT16}
        self._unpacked = {name for name, kind in types.items() if kind == DataType.INT4 and cast_scales}
        self._inputs = declared_float16(graph, GraphProto.INPUT)
        self._outputs = declared_float16(graph, GraphProto.OUTPUT)
        self._casts: list[Message] = []
        self._names: dict[str, str] = {}  # float16 name -> name of its cast

    def graph(self) -> Message:
        nodes: list[Message] = []
        for content in every(self._graph, GraphProto.NODE):
            node = parse(content)
            before = len(self._casts)
            changed = self._node(node)
            # casts of weights and inputs come straight before their first use
            nodes += self._casts[before:]
            nodes += changed
        return graph_with_nodes(self._graph, nodes)

    def _node(self, node: Message) -> list[Message]:
        kind = text(node, NodeProto.OP_TYPE)
        # its scales must stay constants: the result is cast instead
        keeps_half = kind == "DequantizeLinear" and next(every(node, NodeProto.INPUT)).decode() not in self._unpacked
        if kind == "Cast":
            node = with_cast_target(node, self._target)
        made_half = (keeps_half and self._has_half_input(node)) or makes_float16_constant(node)
        changed: Message = []
        trailing: list[Message] = []
        for field in node:
            if field.number == NodeProto.INPUT and not keeps_half:
                changed.append(string(NodeProto.INPUT, self._input(_decoded(field))))
            elif field.number == NodeProto.OUTPUT:
                name = _decoded(field)
                if made_half:
                    # stays float16 under its own name; whoever reads it reads a cast
                    trailing.append(make_cast(name, self._renamed(name), self._target))
                    changed.append(field)
                elif name in self._outputs:
                    trailing.append(make_cast(self._renamed(name), name, DataType.FLOAT16))
                    changed.append(string(NodeProto.OUTPUT, self._renamed(name)))
                else:
                    changed.append(field)
            else:
                changed.append(field)
        return [changed, *trailing]

    def _input(self, name: str) -> str:
        if name in self._names:
            return self._names[name]
        if name in self._halves or name in self._inputs:
            self._casts.append(make_cast(name, self._renamed(name), self._target))
        return self._names.get(name, name)

    def _renamed(self, name: str) -> str:
        return self._names.setdefault(name, f"{name}/computed")

    def _has_half_input(self, node: Message) -> bool:
        return any(name.decode() in self._halves for name in every(node, NodeProto.INPUT))


def _decoded(field: Field) -> str:
    assert isinstance(field.value, bytes)
    return field.value.decode()


def _with_target(field: Field, target: int) -> Field:
    """The `to` of a Cast to float16 replaced."""
    if field.number != NodeProto.ATTRIBUTE or not isinstance(field.value, bytes):
        return field
    attribute = parse(field.value)
    if text(attribute, AttributeProto.NAME) != "to" or number_of(attribute, AttributeProto.INT) != DataType.FLOAT16:
        return field
    changed = [
        part if part.number != AttributeProto.INT else Field(AttributeProto.INT, VARINT, target) for part in attribute
    ]
    return Field(NodeProto.ATTRIBUTE, BYTES, serialise(changed))
