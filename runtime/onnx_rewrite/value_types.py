"""Which values of an ONNX graph are float16, found without the `onnx` package: types follow the nodes from the inputs on.

Field numbers are those of onnx.proto3.
"""

from glus_edge.runtime.onnx_rewrite.protobuf import Message, every, number_of, parse, text

FLOAT, FLOAT16, BFLOAT16, INT4 = 1, 10, 16, 22

# Fields of GraphProto, NodeProto, AttributeProto, TensorProto
NODE, INITIALIZER, INPUT, OUTPUT = 1, 5, 11, 12
NODE_INPUT, NODE_OUTPUT, NODE_NAME, NODE_TYPE, NODE_ATTRIBUTE = 1, 2, 3, 4, 5
ATTRIBUTE_NAME, ATTRIBUTE_INT, ATTRIBUTE_TENSOR, ATTRIBUTE_TYPE = 1, 3, 5, 20
TENSOR_TYPE, TENSOR_NAME = 2, 8

_NEVER_HALF = frozenset(
    ("Shape", "Size", "ArgMax", "ArgMin", "NonZero", "IsNaN", "IsInf", "And", "Or", "Not", "Xor")
    + ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")
)
_TYPE_GIVEN_BY = {"Where": 1, "DequantizeLinear": 1}  # which input has the type of the output; else the first
_FIRST_OUTPUT_ONLY = frozenset(("TopK", "MaxPool"))  # the second holds indices


def float16_values(graph: Message) -> set[str]:
    """Names of all float16 values of a GraphProto: inputs, initializers and outputs of nodes."""
    halves = {
        text(tensor, TENSOR_NAME)
        for tensor in map(parse, every(graph, INITIALIZER))
        if number_of(tensor, TENSOR_TYPE) == FLOAT16
    }
    halves |= declared_float16(graph, INPUT)
    for node in map(parse, every(graph, NODE)):
        outputs = [name.decode() for name in every(node, NODE_OUTPUT)]
        if _makes_half(node, halves):
            halves.update(outputs[:1] if text(node, NODE_TYPE) in _FIRST_OUTPUT_ONLY else outputs)
    return halves


def declared_float16(graph: Message, number: int) -> set[str]:
    """Names of a GraphProto's float16 inputs or outputs: ValueInfoProto.type.tensor_type.elem_type."""
    names = set()
    for value in map(parse, every(graph, number)):
        kind = parse(next(every(value, 2)))
        if number_of(parse(next(every(kind, 1))), 1) == FLOAT16:
            names.add(text(value, 1))
    return names


def makes_float16_constant(node: Message) -> bool:
    """Whether a node makes float16 of its own: Constant and ConstantOfShape."""
    tensors = (t for a in every(node, NODE_ATTRIBUTE) for t in every(parse(a), ATTRIBUTE_TENSOR))
    return any(number_of(parse(tensor), TENSOR_TYPE) == FLOAT16 for tensor in tensors)


def cast_target(node: Message) -> int:
    """The type a Cast makes."""
    attributes = map(parse, every(node, NODE_ATTRIBUTE))
    return next(number_of(a, ATTRIBUTE_INT) for a in attributes if text(a, ATTRIBUTE_NAME) == "to")


def _makes_half(node: Message, halves: set[str]) -> bool:
    kind = text(node, NODE_TYPE)
    if kind == "Cast":
        return cast_target(node) == FLOAT16
    if kind in ("Constant", "ConstantOfShape"):
        return makes_float16_constant(node)
    if kind in _NEVER_HALF:
        return False
    inputs = [name.decode() for name in every(node, NODE_INPUT)]
    place = _TYPE_GIVEN_BY.get(kind, 0)
    return place < len(inputs) and inputs[place] in halves
