"""A float16 ONNX graph that computes in bfloat16 or float32 instead; its inputs, outputs and weights stay float16.

What a build falls back to where half precision is wrong on a device. Weights are cast in the graph: their file, which
may hold gigabytes, is shared, and a compiler folds the casts away. Field numbers are those of onnx.proto3.
"""

from pathlib import Path

from glus_edge.runtime.protobuf import BYTES, VARINT, Field, Message, every, number_of, parse, serialise, string, text

FLOAT, FLOAT16, BFLOAT16 = 1, 10, 16
TARGETS = {"fp32": FLOAT, "bf16": BFLOAT16}

_MODEL_GRAPH, _MODEL_FUNCTIONS = 7, 25
_NODE, _INITIALIZER, _INPUT, _OUTPUT = 1, 5, 11, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_TYPE, _NODE_ATTRIBUTE = 1, 2, 3, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_INT, _ATTRIBUTE_TENSOR, _ATTRIBUTE_TYPE = 1, 3, 5, 20
_TENSOR_TYPE, _TENSOR_NAME = 2, 8
_INT_ATTRIBUTE = 2


def write_in_precision(source: Path, target: Path, precision: str) -> None:
    """Writes the graph of `source` computing in 'fp32' or 'bf16' as `target`, in the same folder for its weights' sake."""
    assert source.parent == target.parent, "external weights are found next to the graph"
    target.write_bytes(in_precision(source.read_bytes(), precision))


def in_precision(model: bytes, precision: str) -> bytes:
    """The serialised model with every float16 computation in `precision`; unchanged if it has none."""
    fields = parse(model)
    assert not list(every(fields, _MODEL_FUNCTIONS)), "functions are not looked into: our graphs have none"
    place = next(i for i, field in enumerate(fields) if field.number == _MODEL_GRAPH)
    graph = fields[place].value
    assert isinstance(graph, bytes)
    fields[place] = Field(_MODEL_GRAPH, BYTES, serialise(_Rewrite(parse(graph), TARGETS[precision]).graph()))
    return serialise(fields)


class _Rewrite:
    """One graph: names of float16 tensors that come from outside are replaced by names of their casts."""

    def __init__(self, graph: Message, target: int) -> None:
        self._graph, self._target = graph, target
        self._halves = {
            text(tensor, _TENSOR_NAME)
            for tensor in map(parse, every(graph, _INITIALIZER))
            if number_of(tensor, _TENSOR_TYPE) == FLOAT16
        }
        self._inputs = self._half_values(_INPUT)
        self._outputs = self._half_values(_OUTPUT)
        self._casts: list[Message] = []
        self._names: dict[str, str] = {}  # float16 name -> name of its cast

    def graph(self) -> Message:
        nodes: list[Message] = []
        for content in every(self._graph, _NODE):
            node = parse(content)
            before = len(self._casts)
            changed = self._node(node)
            # casts of weights and inputs come straight before their first use
            nodes += self._casts[before:]
            nodes += changed
        others = [field for field in self._graph if field.number != _NODE]
        return [Field(_NODE, BYTES, serialise(node)) for node in nodes] + others

    def _node(self, node: Message) -> list[Message]:
        kind = text(node, _NODE_TYPE)
        keeps_half = kind == "DequantizeLinear"  # its scales must stay constants: the result is cast instead
        if kind == "Cast":
            node = [self._cast_target(field) for field in node]
        made_half = (keeps_half and self._has_half_input(node)) or self._has_half_tensor(node)
        changed: Message = []
        trailing: list[Message] = []
        for field in node:
            if field.number == _NODE_INPUT and not keeps_half:
                changed.append(string(_NODE_INPUT, self._input(_decoded(field))))
            elif field.number == _NODE_OUTPUT:
                name = _decoded(field)
                if made_half:
                    # stays float16 under its own name; whoever reads it reads a cast
                    trailing.append(_cast(name, self._renamed(name), self._target))
                    changed.append(field)
                elif name in self._outputs:
                    trailing.append(_cast(self._renamed(name), name, FLOAT16))
                    changed.append(string(_NODE_OUTPUT, self._renamed(name)))
                else:
                    changed.append(field)
            else:
                changed.append(field)
        return [changed, *trailing]

    def _input(self, name: str) -> str:
        if name in self._names:
            return self._names[name]
        if name in self._halves or name in self._inputs:
            self._casts.append(_cast(name, self._renamed(name), self._target))
        return self._names.get(name, name)

    def _renamed(self, name: str) -> str:
        return self._names.setdefault(name, f"{name}/computed")

    def _cast_target(self, field: Field) -> Field:
        if field.number != _NODE_ATTRIBUTE or not isinstance(field.value, bytes):
            return field
        attribute = parse(field.value)
        if text(attribute, _ATTRIBUTE_NAME) != "to" or number_of(attribute, _ATTRIBUTE_INT) != FLOAT16:
            return field
        changed = [
            part if part.number != _ATTRIBUTE_INT else Field(_ATTRIBUTE_INT, VARINT, self._target) for part in attribute
        ]
        return Field(_NODE_ATTRIBUTE, BYTES, serialise(changed))

    def _has_half_input(self, node: Message) -> bool:
        return any(name.decode() in self._halves for name in every(node, _NODE_INPUT))

    def _has_half_tensor(self, node: Message) -> bool:
        """Whether the node makes float16 of its own: Constant and ConstantOfShape."""
        tensors = (t for a in every(node, _NODE_ATTRIBUTE) for t in every(parse(a), _ATTRIBUTE_TENSOR))
        return any(number_of(parse(tensor), _TENSOR_TYPE) == FLOAT16 for tensor in tensors)

    def _half_values(self, number: int) -> set[str]:
        """Names of the graph's float16 inputs or outputs: ValueInfoProto.type.tensor_type.elem_type."""
        names = set()
        for value in map(parse, every(self._graph, number)):
            kind = parse(next(every(value, 2)))
            if number_of(parse(next(every(kind, 1))), 1) == FLOAT16:
                names.add(text(value, 1))
        return names


def _decoded(field: Field) -> str:
    assert isinstance(field.value, bytes)
    return field.value.decode()


def _cast(source: str, target: str, dtype: int) -> Message:
    attribute = [string(_ATTRIBUTE_NAME, "to"), Field(_ATTRIBUTE_INT, VARINT, dtype)]
    attribute.append(Field(_ATTRIBUTE_TYPE, VARINT, _INT_ATTRIBUTE))
    return [
        string(_NODE_INPUT, source),
        string(_NODE_OUTPUT, target),
        string(_NODE_NAME, f"cast/{target}"),
        string(_NODE_TYPE, "Cast"),
        Field(_NODE_ATTRIBUTE, BYTES, serialise(attribute)),
    ]
