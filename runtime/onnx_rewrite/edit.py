"""Nodes and initializers of an ONNX graph: made, read, and put into it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glus_edge.runtime.onnx_rewrite.onnx_fields import (
    AttributeProto,
    AttributeType,
    DataType,
    GraphProto,
    ModelProto,
    NodeProto,
    OperatorSetIdProto,
    TensorProto,
    ValueInfoProto,
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

CONTRIB = "com.microsoft"  # the domain of ONNX Runtime's own operators
DATA_TYPES = {  # by numpy's names
    "float32": DataType.FLOAT,
    "float16": DataType.FLOAT16,
    "uint8": DataType.UINT8,
    "int64": DataType.INT64,
}

Attributes = Mapping[str, int | Sequence[int]]


def make_node(
    kind: str,
    inputs: Sequence[str],
    output: str,
    attributes: Attributes | None = None,
    *,
    name: str = "",
    domain: str = "",
) -> Message:
    """A node with one output, whose name it has where none is given. Attributes are not negative."""
    fields = [string(NodeProto.INPUT, source) for source in inputs]
    fields += [
        string(NodeProto.OUTPUT, output),
        string(NodeProto.NAME, name or output),
        string(NodeProto.OP_TYPE, kind),
    ]
    if domain:
        fields.append(string(NodeProto.DOMAIN, domain))
    return fields + [_attribute(key, value) for key, value in (attributes or {}).items()]


def make_cast(source: str, target: str, data_type: int) -> Message:
    """A Cast of the value `source` to a DataType, as `target`."""
    return make_node("Cast", [source], target, {"to": data_type}, name=f"cast/{target}")


def make_initializer(name: str, value: NDArray[Any]) -> Field:
    """An initializer of a graph; its type is one of DATA_TYPES."""
    tensor = [Field(TensorProto.DIMS, VARINT, size) for size in value.shape]
    tensor += [
        Field(TensorProto.DATA_TYPE, VARINT, DATA_TYPES[value.dtype.name]),
        string(TensorProto.NAME, name),
        Field(TensorProto.RAW_DATA, BYTES, value.tobytes()),
    ]
    return Field(GraphProto.INITIALIZER, BYTES, serialise(tensor))


def int64_initializers(graph: Message) -> dict[str, NDArray[np.int64]]:
    """The int64 initializers of a graph that stand in the file itself: shapes and axes."""
    found = {}
    for tensor in map(parse, every(graph, GraphProto.INITIALIZER)):
        raw = next(every(tensor, TensorProto.RAW_DATA), None)
        if number_of(tensor, TensorProto.DATA_TYPE) == DataType.INT64 and raw is not None:
            sizes = [
                field.value for field in tensor if field.number == TensorProto.DIMS and isinstance(field.value, int)
            ]
            found[text(tensor, TensorProto.NAME)] = np.frombuffer(raw, np.int64).reshape(sizes)
    return found


def inputs_of(node: Message) -> list[str]:
    """Names; '' for one left out."""
    return [name.decode() for name in every(node, NodeProto.INPUT)]


def outputs_of(node: Message) -> list[str]:
    """Names."""
    return [name.decode() for name in every(node, NodeProto.OUTPUT)]


def output_names(graph: Message) -> set[str]:
    """Names of a graph's outputs."""
    return {text(parse(value), ValueInfoProto.NAME) for value in every(graph, GraphProto.OUTPUT)}


def contrib_operator_set() -> Field:
    """The field of a model that lets it use ONNX Runtime's own operators."""
    fields = [string(OperatorSetIdProto.DOMAIN, CONTRIB), Field(OperatorSetIdProto.VERSION, VARINT, 1)]
    return Field(ModelProto.OPSET_IMPORT, BYTES, serialise(fields))


def needed_nodes(nodes: Iterable[Message], graph: Message) -> list[Message]:
    """Those nodes, in order, that an output of the graph needs."""
    names = output_names(graph)
    needed = []
    for node in reversed(list(nodes)):
        if not names.isdisjoint(outputs_of(node)):
            names.update(inputs_of(node))
            needed.append(node)
    return needed[::-1]


def graph_with_nodes(graph: Message, nodes: Iterable[Message], added: Iterable[Field] = ()) -> Message:
    """The graph with these nodes for its own, and further initializers. One that nothing reads any more stays."""
    others = [field for field in graph if field.number != GraphProto.NODE]
    return [Field(GraphProto.NODE, BYTES, serialise(node)) for node in nodes] + others + list(added)


def _attribute(name: str, value: int | Sequence[int]) -> Field:
    fields = [string(AttributeProto.NAME, name)]
    if isinstance(value, int):
        fields += [Field(AttributeProto.INT, VARINT, value), Field(AttributeProto.TYPE, VARINT, AttributeType.INT)]
    else:
        fields += [Field(AttributeProto.INTS, VARINT, each) for each in value]
        fields.append(Field(AttributeProto.TYPE, VARINT, AttributeType.INTS))
    return Field(NodeProto.ATTRIBUTE, BYTES, serialise(fields))
