"""A float16 ONNX graph that computes in bfloat16 or float32 instead; its inputs, outputs and weights stay float16.

What a build falls back to where half precision is wrong on a device. Weights are cast in the graph: their file, which
may hold gigabytes, is shared, and a compiler folds the casts away. Field numbers are those of onnx.proto3.
"""

from pathlib import Path

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
    BFLOAT16,
    FLOAT,
    FLOAT16,
    INITIALIZER,
    INPUT,
    INT4,
    NODE,
    NODE_ATTRIBUTE,
    NODE_INPUT,
    NODE_NAME,
    NODE_OUTPUT,
    NODE_TYPE,
    OUTPUT,
    TENSOR_NAME,
    TENSOR_TYPE,
    declared_float16,
    makes_float16_constant,
)

TARGETS = {"fp32": FLOAT, "bf16": BFLOAT16}

_MODEL_GRAPH, _MODEL_FUNCTIONS = 7, 25
_INT_ATTRIBUTE = 2


def write_model_in_precision(source: Path, target: Path, precision: str, *, cast_scales: bool = False) -> None:
    """Writes the graph of `source` computing in 'fp32' or 'bf16' as `target`, in the same folder for its weights' sake.

    An int4 matrix's scales stay float16 constants, as TensorRT wants them, and what it comes to is cast. `cast_scales`
    casts the scales instead: a form that ONNX Runtime multiplies with as it is stored, where the other is unpacked anew,
    whole, in every run.
    """
    assert source.parent == target.parent, "external weights are found next to the graph"
    target.write_bytes(model_in_precision(source.read_bytes(), precision, cast_scales=cast_scales))


def model_in_precision(model: bytes, precision: str, *, cast_scales: bool = False) -> bytes:
    """The serialised model with every float16 computation in `precision`; unchanged if it has none."""
    fields, place, graph = split_model(model)
    fields[place] = Field(_MODEL_GRAPH, BYTES, serialise(_Rewrite(graph, TARGETS[precision], cast_scales).graph()))
    return serialise(fields)


def split_model(model: bytes) -> tuple[Message, int, Message]:
    """Fields of a serialised model, the place of its graph among them, and the graph's fields. ValueError: it is none."""
    fields = parse(model)
    if list(every(fields, _MODEL_FUNCTIONS)):
        raise ValueError("it has functions, and graphs as exported have none")
    for place, field in enumerate(fields):
        if field.number == _MODEL_GRAPH and isinstance(field.value, bytes):
            return fields, place, parse(field.value)
    raise ValueError("it holds no graph")


def with_cast_target(node: Message, target: int) -> Message:
    """A Cast to another type."""
    return [_with_target(field, target) for field in node]


def cast_node(source: str, target: str, dtype: int) -> Message:
    """A Cast of a value to a type."""
    attribute = [string(ATTRIBUTE_NAME, "to"), Field(ATTRIBUTE_INT, VARINT, dtype)]
    attribute.append(Field(ATTRIBUTE_TYPE, VARINT, _INT_ATTRIBUTE))
    return [
        string(NODE_INPUT, source),
        string(NODE_OUTPUT, target),
        string(NODE_NAME, f"cast/{target}"),
        string(NODE_TYPE, "Cast"),
        Field(NODE_ATTRIBUTE, BYTES, serialise(attribute)),
    ]


class _Rewrite:
    """One graph: names of float16 tensors that come from outside are replaced by names of their casts."""

    def __init__(self, graph: Message, target: int, cast_scales: bool) -> None:
        self._graph, self._target = graph, target
        types = {
            text(tensor, TENSOR_NAME): number_of(tensor, TENSOR_TYPE)
            for tensor in map(parse, every(graph, INITIALIZER))
        }
        self._halves = {name for name, kind in types.items() if kind == FLOAT16}
        self._unpacked = {name for name, kind in types.items() if kind == INT4 and cast_scales}
        self._inputs = declared_float16(graph, INPUT)
        self._outputs = declared_float16(graph, OUTPUT)
        self._casts: list[Message] = []
        self._names: dict[str, str] = {}  # float16 name -> name of its cast

    def graph(self) -> Message:
        nodes: list[Message] = []
        for content in every(self._graph, NODE):
            node = parse(content)
            before = len(self._casts)
            changed = self._node(node)
            # casts of weights and inputs come straight before their first use
            nodes += self._casts[before:]
            nodes += changed
        others = [field for field in self._graph if field.number != NODE]
        return [Field(NODE, BYTES, serialise(node)) for node in nodes] + others

    def _node(self, node: Message) -> list[Message]:
        kind = text(node, NODE_TYPE)
        # its scales must stay constants: the result is cast instead
        keeps_half = kind == "DequantizeLinear" and next(every(node, NODE_INPUT)).decode() not in self._unpacked
        if kind == "Cast":
            node = with_cast_target(node, self._target)
        made_half = (keeps_half and self._has_half_input(node)) or makes_float16_constant(node)
        changed: Message = []
        trailing: list[Message] = []
        for field in node:
            if field.number == NODE_INPUT and not keeps_half:
                changed.append(string(NODE_INPUT, self._input(_decoded(field))))
            elif field.number == NODE_OUTPUT:
                name = _decoded(field)
                if made_half:
                    # stays float16 under its own name; whoever reads it reads a cast
                    trailing.append(cast_node(name, self._renamed(name), self._target))
                    changed.append(field)
                elif name in self._outputs:
                    trailing.append(cast_node(self._renamed(name), name, FLOAT16))
                    changed.append(string(NODE_OUTPUT, self._renamed(name)))
                else:
                    changed.append(field)
            else:
                changed.append(field)
        return [changed, *trailing]

    def _input(self, name: str) -> str:
        if name in self._names:
            return self._names[name]
        if name in self._halves or name in self._inputs:
            self._casts.append(cast_node(name, self._renamed(name), self._target))
        return self._names.get(name, name)

    def _renamed(self, name: str) -> str:
        return self._names.setdefault(name, f"{name}/computed")

    def _has_half_input(self, node: Message) -> bool:
        return any(name.decode() in self._halves for name in every(node, NODE_INPUT))


def _decoded(field: Field) -> str:
    assert isinstance(field.value, bytes)
    return field.value.decode()


def _with_target(field: Field, target: int) -> Field:
    """The `to` of a Cast to float16 replaced."""
    if field.number != NODE_ATTRIBUTE or not isinstance(field.value, bytes):
        return field
    attribute = parse(field.value)
    if text(attribute, ATTRIBUTE_NAME) != "to" or number_of(attribute, ATTRIBUTE_INT) != FLOAT16:
        return field
    changed = [part if part.number != ATTRIBUTE_INT else Field(ATTRIBUTE_INT, VARINT, target) for part in attribute]
    return Field(NODE_ATTRIBUTE, BYTES, serialise(changed))
