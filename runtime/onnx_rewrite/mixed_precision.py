"""A float16 ONNX graph some of whose nodes compute in float32 instead; all else, and every tensor outside, stays float16.

Between two raised nodes values stay in float32: a sum that overflows float16 is not squeezed through it on the way.
"""

from collections.abc import Iterable

from glus_edge.runtime.onnx_rewrite.precision import cast_node, split_model, with_cast_target
from glus_edge.runtime.onnx_rewrite.protobuf import BYTES, Field, Message, every, parse, serialise, string, text
from glus_edge.runtime.onnx_rewrite.value_types import (
    FLOAT,
    FLOAT16,
    NODE,
    NODE_INPUT,
    NODE_NAME,
    NODE_OUTPUT,
    NODE_TYPE,
    OUTPUT,
    cast_target,
    float16_values,
)

# Their tensors are constants, whose type stays: who reads them casts.
_CONSTANTS = frozenset(("Constant", "ConstantOfShape", "DequantizeLinear"))


def model_with_float32_nodes(model: bytes, names: Iterable[str]) -> bytes:
    """The serialised model with the nodes of these names computing in float32."""
    fields, place, graph = split_model(model)
    fields[place] = Field(fields[place].number, BYTES, serialise(_Raise(graph, frozenset(names)).graph()))
    return serialise(fields)


class _Raise:
    """One graph. A raised value keeps its name for those who read float16, and has another in float32."""

    def __init__(self, graph: Message, chosen: frozenset[str]) -> None:
        self._graph = graph
        self._halves = float16_values(graph)
        self._nodes = [parse(content) for content in every(graph, NODE)]
        self._raised = [self._is_raised(node, chosen) for node in self._nodes]
        self._read_in_half = {text(parse(value), 1) for value in every(graph, OUTPUT)}
        for node, raised in zip(self._nodes, self._raised, strict=True):
            if not raised:
                self._read_in_half.update(name.decode() for name in every(node, NODE_INPUT))
        self._full: dict[str, str] = {}  # float16 name -> name of the same value in float32

    def graph(self) -> Message:
        nodes: list[Message] = []
        for node, raised in zip(self._nodes, self._raised, strict=True):
            nodes += self._raised_node(node) if raised else [node]
        others = [field for field in self._graph if field.number != NODE]
        return [Field(NODE, BYTES, serialise(node)) for node in nodes] + others

    def _is_raised(self, node: Message, chosen: frozenset[str]) -> bool:
        if text(node, NODE_NAME) not in chosen or text(node, NODE_TYPE) in _CONSTANTS:
            return False
        values = (*every(node, NODE_INPUT), *every(node, NODE_OUTPUT))
        return any(name.decode() in self._halves for name in values)

    def _raised_node(self, node: Message) -> list[Message]:
        before: list[Message] = []
        after: list[Message] = []
        if text(node, NODE_TYPE) == "Cast" and cast_target(node) == FLOAT16:
            node = with_cast_target(node, FLOAT)
        changed: Message = []
        for field in node:
            name = field.value.decode() if isinstance(field.value, bytes) and field.number in (1, 2) else ""
            if name not in self._halves:
                changed.append(field)
            elif field.number == NODE_INPUT:
                if name not in self._full:
                    self._full[name] = f"{name}/raised"
                    before.append(cast_node(name, self._full[name], FLOAT))
                changed.append(string(NODE_INPUT, self._full[name]))
            else:
                self._full[name] = f"{name}/raised"
                changed.append(string(NODE_OUTPUT, self._full[name]))
                if name in self._read_in_half:
                    after.append(cast_node(self._full[name], name, FLOAT16))
        return [*before, changed, *after]
