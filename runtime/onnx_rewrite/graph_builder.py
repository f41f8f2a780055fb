"""A small ONNX graph written node by node, where the `onnx` package need not be installed."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glus_edge.runtime.bundle.signatures import TensorSignature
from glus_edge.runtime.onnx_rewrite.edit import DATA_TYPES, make_initializer, make_node
from glus_edge.runtime.onnx_rewrite.onnx_fields import (
    DimensionProto,
    GraphProto,
    ModelProto,
    OperatorSetIdProto,
    TensorShapeProto,
    TensorTypeProto,
    TypeProto,
    ValueInfoProto,
)
from glus_edge.runtime.onnx_rewrite.protobuf import BYTES, VARINT, Field, Message, serialise, string

_OPSET, _IR_VERSION = 18, 10


class GraphBuilder:
    """Nodes and constants, in the order they are added."""

    def __init__(self) -> None:
        self._fields: Message = []
        self._count = 0

    def add(self, kind: str, inputs: Sequence[str], output: str = "", **attributes: int | Sequence[int]) -> str:
        """A node; returns the name of its output."""
        self._count += 1
        output = output or f"{kind}_{self._count}"
        node = make_node(kind, inputs, output, attributes, name=f"{self._count:04d}_{kind}")
        self._fields.append(Field(GraphProto.NODE, BYTES, serialise(node)))
        return output

    def constant(self, value: NDArray[Any] | np.float32 | np.int64) -> str:
        """An initializer of a type in DATA_TYPES; returns its name."""
        self._count += 1
        name = f"constant_{self._count}"
        self._fields.append(make_initializer(name, np.asarray(value)))
        return name

    def model(self, name: str, inputs: Iterable[TensorSignature], outputs: Iterable[TensorSignature]) -> bytes:
        """The serialised model."""
        graph = [*self._fields, string(GraphProto.NAME, name)]
        graph += [Field(GraphProto.INPUT, BYTES, value_info(tensor)) for tensor in inputs]
        graph += [Field(GraphProto.OUTPUT, BYTES, value_info(tensor)) for tensor in outputs]
        return serialise(
            [
                Field(ModelProto.IR_VERSION, VARINT, _IR_VERSION),
                string(ModelProto.PRODUCER_NAME, "glus-edge"),
                Field(ModelProto.GRAPH, BYTES, serialise(graph)),
                Field(ModelProto.OPSET_IMPORT, BYTES, serialise([Field(OperatorSetIdProto.VERSION, VARINT, _OPSET)])),
            ]
        )


def value_info(tensor: TensorSignature) -> bytes:
    """An input or output of a graph; its type is one of DATA_TYPES."""
    shape = serialise(_message(TensorShapeProto.DIM, [_dimension(size)]) for size in tensor.shape)
    kind = [
        Field(TensorTypeProto.ELEM_TYPE, VARINT, DATA_TYPES[tensor.dtype]),
        Field(TensorTypeProto.SHAPE, BYTES, shape),
    ]
    value = [string(ValueInfoProto.NAME, tensor.name)]
    value.append(_message(ValueInfoProto.TYPE, [_message(TypeProto.TENSOR_TYPE, kind)]))
    return serialise(value)


def _dimension(size: int | str) -> Field:
    if isinstance(size, str):
        return string(DimensionProto.DIM_PARAM, size)
    return Field(DimensionProto.DIM_VALUE, VARINT, size)


def _message(number: int, fields: Message) -> Field:
    return Field(number, BYTES, serialise(fields))
