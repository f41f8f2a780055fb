"""Which values of an ONNX graph are float16, found without the `onnx` package: types follow the nodes from the inputs on."""

from glus_edge.runtime.onnx_rewrite.onnx_fields import (
    AttributeProto,
    DataType,
    GraphProto,
    NodeProto,
    TensorProto,
    TensorTypeProto,
    TypeProto,
    ValueInfoProto,
)
from glus_edge.runtime.onnx_rewrite.protobuf import Message, every, number_of, parse, text

# Fields of GraphProto, NodeProto, AttributeProto, TensorProto

_NEVER_HALF = frozenset(
    ("Shape", "Size", "ArgMax", "ArgMin", "NonZero", "IsNaN", "IsInf", "And", "Or", "Not", "Xor")
    + ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")
)
_TYPE_GIVEN_BY = {"Where": 1, "DequantizeLinear": 1}  # which input has the type of the output; else the first
_FIRST_OUTPUT_ONLY = frozenset(("TopK", "MaxPool"))  # the second holds indices


def float16_values(graph: Message) -> set[str]:
    """Names of all float16 values of a GraphProto: inputs, initializers and outputs of nodes."""
    halves = {
        text(tensor, TensorProto.NAME)
        for tensor in map(parse, every(graph, GraphProto.INITIALIZER))
        if number_of(tensor, TensorProto.DATA_TYPE) == DataType.FLOAT16
    }
    halves |= declared_float16(graph, GraphProto.INPUT)
    for node in map(parse, every(graph, GraphProto.NODE)):
        outputs = [name.decode() for name in every(node, NodeProto.OUTPUT)]
        if _makes_half(node, halves):
            halves.update(outputs[:1] if text(node, NodeProto.OP_TYPE) in _FIRST_OUTPUT_ONLY else outputs)
    return halves


def declared_float16(graph: Message, number: int) -> set[str]:
    """Names of a GraphProto's float16 inputs or outputs: ValueInfoProto.type.tensor_type.elem_type."""
    names = set()
    for value in map(parse, every(graph, number)):
        kind = parse(next(every(value, ValueInfoProto.TYPE)))
        if number_of(parse(next(every(kind, TypeProto.TENSOR_TYPE))), TensorTypeProto.ELEM_TYPE) == DataType.FLOAT16:
            names.add(text(value, ValueInfoProto.NAME))
    return names


def makes_float16_constant(node: Message) -> bool:
    """Whether a node makes float16 of its own: Constant and ConstantOfShape."""
    tensors = (t for a in every(node, NodeProto.ATTRIBUTE) for t in every(parse(a), AttributeProto.TENSOR))
    return any(number_of(parse(tensor), TensorProto.DATA_TYPE) == DataType.FLOAT16 for tensor in tensors)


def cast_target(node: Message) -> int:
    """The type a Cast makes."""
    attributes = map(parse, every(node, NodeProto.ATTRIBUTE))
    return next(number_of(a, AttributeProto.INT) for a in attributes if text(a, AttributeProto.NAME) == "to")


def _makes_half(node: Message, halves: set[str]) -> bool:
    kind = text(node, NodeProto.OP_TYPE)
    if kind == "Cast":
        return cast_target(node) == DataType.FLOAT16
    if kind in ("Constant", "ConstantOfShape"):
        return makes_float16_constant(node)
    if kind in _NEVER_HALF:
        return False
    inputs = [name.decode() for name in every(node, NodeProto.INPUT)]
    place = _TYPE_GIVEN_BY.get(kind, 0)
    return place < len(inputs) and inputs[place] in halves
