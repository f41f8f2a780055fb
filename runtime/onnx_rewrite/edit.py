"""Nodes and constants added to an ONNX graph, and what no longer leads to an output taken out of it.

Field numbers are those of onnx.proto3.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

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
from glus_edge.runtime.onnx_rewrite.value_types import (
    ATTRIBUTE_INT,
    ATTRIBUTE_NAME,
    ATTRIBUTE_TYPE,
    INITIALIZER,
    NODE,
    NODE_ATTRIBUTE,
    NODE_INPUT,
    NODE_NAME,
    NODE_OUTPUT,
    NODE_TYPE,
    OUTPUT,
    TENSOR_NAME,
    TENSOR_TYPE,
)

CONTRIBUTED = "com.microsoft"  # the domain of ONNX Runtime's own operators

_MODEL_OPERATOR_SETS, _NODE_DOMAIN = 8, 7
_ATTRIBUTE_INTS = 8
_INT_ATTRIBUTE, _INTS_ATTRIBUTE = 2, 7
_TENSOR_DIMS, _TENSOR_RAW, _INT64 = 1, 9, 7


def node(kind: str, inputs: Sequence[str], output: str, domain: str = "", **attributes: int | Sequence[int]) -> Message:
    """A node with one output, named as it. Attributes are not negative."""
    fields = [string(NODE_INPUT, name) for name in inputs]
    fields += [string(NODE_OUTPUT, output), string(NODE_NAME, output), string(NODE_TYPE, kind)]
    if domain:
        fields.append(string(_NODE_DOMAIN, domain))
    return fields + [_attribute(name, value) for name, value in attributes.items()]


def whole_constant(name: str, value: NDArray[np.int64]) -> Field:
    """An initializer of a graph."""
    tensor = [Field(_TENSOR_DIMS, VARINT, size) for size in value.shape]
    tensor += [Field(TENSOR_TYPE, VARINT, _INT64), string(TENSOR_NAME, name)]
    return Field(INITIALIZER, BYTES, serialise([*tensor, Field(_TENSOR_RAW, BYTES, value.tobytes())]))


def whole_constants(graph: Message) -> dict[str, NDArray[np.int64]]:
    """The int64 initializers of a graph that stand in the file itself: shapes and axes."""
    found = {}
    for tensor in map(parse, every(graph, INITIALIZER)):
        raw = next(every(tensor, _TENSOR_RAW), None)
        if number_of(tensor, TENSOR_TYPE) == _INT64 and raw is not None:
            sizes = [field.value for field in tensor if field.number == _TENSOR_DIMS and isinstance(field.value, int)]
            found[text(tensor, TENSOR_NAME)] = np.frombuffer(raw, np.int64).reshape(sizes)
    return found


def inputs_of(node: Message) -> list[str]:
    """Names; '' for one left out."""
    return [name.decode() for name in every(node, NODE_INPUT)]


def outputs_of(node: Message) -> list[str]:
    """Names."""
    return [name.decode() for name in every(node, NODE_OUTPUT)]


def model_with_contrib_operators(model: Message) -> Message:
    """The model's fields, allowed to use ONNX Runtime's own operators."""
    return [*model, Field(_MODEL_OPERATOR_SETS, BYTES, serialise([string(1, CONTRIBUTED), Field(2, VARINT, 1)]))]


def pruned(nodes: Iterable[Message], graph: Message) -> list[Message]:
    """Those nodes, in order, that an output of the graph needs."""
    needed = {text(parse(value), 1) for value in every(graph, OUTPUT)}
    kept = []
    for each in reversed(list(nodes)):
        if not needed.isdisjoint(outputs_of(each)):
            needed.update(inputs_of(each))
            kept.append(each)
    return kept[::-1]


def with_nodes(graph: Message, nodes: Iterable[Message], added: Iterable[Field]) -> Message:
    """The graph with these nodes for its own, and further initializers. One that nothing reads any more stays."""
    others = [field for field in graph if field.number != NODE]
    return [Field(NODE, BYTES, serialise(each)) for each in nodes] + others + list(added)


def _attribute(name: str, value: int | Sequence[int]) -> Field:
    fields = [string(ATTRIBUTE_NAME, name)]
    if isinstance(value, int):
        fields += [Field(ATTRIBUTE_INT, VARINT, value), Field(ATTRIBUTE_TYPE, VARINT, _INT_ATTRIBUTE)]
    else:
        fields += [Field(_ATTRIBUTE_INTS, VARINT, each) for each in value]
        fields.append(Field(ATTRIBUTE_TYPE, VARINT, _INTS_ATTRIBUTE))
    return Field(NODE_ATTRIBUTE, BYTES, serialise(fields))
