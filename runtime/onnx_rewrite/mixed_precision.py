"""A float16 ONNX graph some of whose nodes compute in float32 instead; all else, and every tensor outside, stays float16.

Between two raised nodes values stay in float32: a sum that overflows float16 is not squeezed through it on the way.
"""

from collections.abc import Iterable

from glus_edge.runtime.onnx_rewrite.edit import graph_with_nodes, make_cast, output_names
from glus_edge.runtime.onnx_rewrite.model import parse_model
from glus_edge.runtime.onnx_rewrite.onnx_fields import DataType, GraphProto, NodeProto
from glus_edge.runtime.onnx_rewrite.precision import with_cast_target
from glus_edge.runtime.onnx_rewrite.protobuf import Message, every, parse, string, text
from glus_edge.runtime.onnx_rewrite.value_types import cast_target, float16_values

# Their tensors are constants, whose type stays: who reads them casts.
_CONSTANTS = frozenset(("Constant", "ConstantOfShape", "DequantizeLinear"))
_VALUES = (NodeProto.INPUT, NodeProto.OUTPUT)


def model_with_float32_nodes(model: bytes, names: Iterable[str]) -> bytes:
    """The serialised model with the nodes of these names computing in float32."""
    parsed = parse_model(model)
    return parsed.with_graph(_MixedPrecisionRewrite(parsed.graph, frozenset(names)).graph())


class _MixedPrecisionRewrite:
    """One graph. A raised value keeps its name for those who read float16, and has another in float32."""

    def __init__(self, graph: Message, chosen: frozenset[str]) -> None:
        self._graph = graph
        self._halves = float16_values(graph)
        self._nodes = [parse(content) for content in every(graph, GraphProto.NODE)]
        self._raised = [self._is_raised(node, chosen) for node in self._nodes]
        self._read_in_half = output_names(graph)
        for node, raised in zip(self._nodes, self._raised, strict=True):
            if not raised:
                self._read_in_half.update(name.decode() for name in every(node, NodeProto.INPUT))
        self._full: dict[str, str] = {}  # float16 name -> name of the same value in float32

    def graph(self) -> Message:
        nodes: list[Message] = []
        for node, raised in zip(self._nodes, self._raised, strict=True):
            nodes += self._raised_node(node) if raised else [node]
        return graph_with_nodes(self._graph, nodes)

    def _is_raised(self, node: Message, chosen: frozenset[str]) -> bool:
        if text(node, NodeProto.NAME) not in chosen or text(node, NodeProto.OP_TYPE) in _CONSTANTS:
            return False
        values = (*every(node, NodeProto.INPUT), *every(node, NodeProto.OUTPUT))
        return any(name.decode() in self._halves for name in values)

    def _raised_node(self, node: Message) -> list[Message]:
        before: list[Message] = []
        after: list[Message] = []
        if text(node, NodeProto.OP_TYPE) == "Cast" and cast_target(node) == DataType.FLOAT16:
            node = with_cast_target(node, DataType.FLOAT)
        changed: Message = []
        for field in node:
            name = field.value.decode() if isinstance(field.value, bytes) and field.number in _VALUES else ""
            if name not in self._halves:
                changed.append(field)
            elif field.number == NodeProto.INPUT:
                if name not in self._full:
                    self._full[name] = f"{name}/raised"
                    before.append(make_cast(name, self._full[name], DataType.FLOAT))
                changed.append(string(NodeProto.INPUT, self._full[name]))
            else:
                self._full[name] = f"{name}/raised"
                changed.append(string(NodeProto.OUTPUT, self._full[name]))
                if name in self._read_in_half:
                    after.append(make_cast(self._full[name], name, DataType.FLOAT16))
        return [*before, changed, *after]
