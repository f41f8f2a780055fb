"""The language model's graph with rotary positions in ONNX Runtime's own operator; made when the graph is loaded.

As exported, the keys of prefix, past and new rows are joined and then rotated, for every sentence anew, in a dozen passes
over memory. Here each part is rotated by itself in one pass, the prefix once for all sentences, and then they are joined.
Measured on one core, the small GLUS, 74 rows behind 190 and 107, processor time in turns: 51.7 ms as exported and 42.4 so
for 8 sentences, 6.1 and 5.3 for one. `MultiHeadAttention` in place of the products and the softmax brought nothing.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from glus_edge.runtime.onnx_rewrite.edit import (
    CONTRIB,
    contrib_operator_set,
    graph_with_nodes,
    inputs_of,
    int64_initializers,
    make_initializer,
    make_node,
    needed_nodes,
    outputs_of,
)
from glus_edge.runtime.onnx_rewrite.model import parse_model
from glus_edge.runtime.onnx_rewrite.onnx_fields import GraphProto
from glus_edge.runtime.onnx_rewrite.protobuf import Field, Message, every, parse

PARTS = ("prefix", "past", "new")


def language_model_with_fused_rotary(model: bytes, max_positions: int) -> bytes | None:
    """The serialised graph, rewritten; None if it is not one that `write_language_model` writes for float32.

    `max_positions`: the longest prompt.
    """
    parsed = parse_model(model)
    graph = parsed.graph
    nodes = [parse(content) for content in every(graph, GraphProto.NODE)]
    makers = {name: each for each in nodes for name in outputs_of(each)}
    shapes = int64_initializers(graph)
    if "layer_0/key_rotated" not in makers or "layer_0/key_all_fp32" in makers:
        return None
    query_heads, width = shapes[inputs_of(makers["layer_0/query_heads"])[1]].tolist()[2:]
    key_heads = shapes[inputs_of(makers["new_key_0"])[1]].tolist()[2]
    rewrite = _RotaryRewrite(query_heads, key_heads, width, max_positions)
    layers = sum(name.endswith("/key_rotated") for name in makers)
    changed: list[Message] = []
    for each in nodes:
        layer, _, value = outputs_of(each)[0].partition("/")
        if value in ("query_rotated", "key_rotated"):
            if not rewrite.started:
                changed += rewrite.shared()
            last = layer == f"layer_{layers - 1}"
            changed += rewrite.query(layer, last) if value == "query_rotated" else rewrite.key(layer)
        else:
            changed.append(each)
    changed_graph = graph_with_nodes(graph, needed_nodes(changed, graph), rewrite.constants)
    return parsed.with_graph(changed_graph, [contrib_operator_set()])


class _RotaryRewrite:
    """Makes the nodes; `constants` are the initializers that they read."""

    def __init__(self, query_heads: int, key_heads: int, width: int, max_positions: int) -> None:
        self.constants: list[Field] = []
        self.started = False
        self._heads = {"query": query_heads, "key": key_heads}
        self._nodes: list[Message] = []
        self._width, self._positions = width, max_positions

    def shared(self) -> list[Message]:
        """What all layers read: tables of cosines and sines, and the places of all rows in them."""
        self.started = True
        zero, one = self._constant("zero", 0), self._constant("one", 1)
        count, last = self._constant("count", self._positions), self._constant("last", self._positions - 1)
        self._add("Range", [zero, count, one], "range")
        self._add("Cast", ["fused/range"], "positions", to=1)
        self._add("Unsqueeze", ["fused/positions", self._constant("axis_1", [1])], "column")
        self._add("Mul", ["fused/column", "rotary/frequencies"], "angles")
        for kind, operator in (("cos", "Cos"), ("sin", "Sin")):
            self._add(operator, ["fused/angles"], f"key_{kind}")
            self._add("Mul", [f"fused/key_{kind}", "rotary/scale"], f"query_{kind}")
        for part in PARTS:
            self._add("Cast", [f"{part}/positions"], f"{part}_int64", to=7)
            # a row that is not there may have any position, and is masked
            self._add("Clip", [f"fused/{part}_int64", zero, last], f"{part}_places")
        end = [self._constant("minus_1", [-1]), self._constant("end", [2**31 - 1]), self._constant("axis_0", [0])]
        self._add("Slice", ["fused/new_places", *end], "last_places")
        for kind, heads in self._heads.items():
            self._constant(f"{kind}_flat", [0, 0, heads * self._width])
            self._constant(f"{kind}_heads", [0, 0, heads, self._width])
        return self._take_nodes()

    def query(self, layer: str, last: bool) -> list[Message]:
        """From LAYER/query [T, B, H*Dh] to LAYER/query_rotated [T, B, H, Dh], the scale of the scores folded in."""
        turned = self._rotated("query", f"{layer}/query", "last" if last else "new", f"{layer}/query")
        self._nodes.append(make_node("Reshape", [turned, "fused/query_heads"], f"{layer}/query_rotated"))
        return self._take_nodes()

    def key(self, layer: str) -> list[Message]:
        """From LAYER/key [T, B, H*Dh], the past and the prefix to LAYER/key_rotated [P+S+T, B, H, Dh]."""
        past = f"past_key_{layer.removeprefix('layer_')}"
        parts = []
        for part, source in zip(PARTS, (f"{layer}/key_prefix", past, f"{layer}/key"), strict=True):
            flat = source
            if part != "new":
                flat = self._add("Reshape", [source, "fused/key_flat"], f"{layer}/key_{part}_flat")
            turned = self._rotated("key", flat, part, f"{layer}/key_{part}")
            parts.append(self._add("Reshape", [turned, "fused/key_heads"], f"{layer}/key_{part}_heads"))
        parts[0] = self._add("Expand", [parts[0], "batch/prefix_shape"], f"{layer}/key_prefix_expanded")
        self._nodes.append(make_node("Concat", parts, f"{layer}/key_rotated", {"axis": 0}))
        return self._take_nodes()

    def _rotated(self, kind: str, rows: str, part: str, name: str) -> str:
        """To the operator, rows [rows, B, H*Dh] are a batch, and sentences a sequence."""
        inputs = [rows, f"fused/{part}_places", f"fused/{kind}_cos", f"fused/{kind}_sin"]
        return self._add("RotaryEmbedding", inputs, f"{name}_turned", CONTRIB, num_heads=self._heads[kind])

    def _add(self, operator: str, inputs: list[str], name: str, domain: str = "", **attributes: Any) -> str:
        self._nodes.append(make_node(operator, inputs, f"fused/{name}", attributes, domain=domain))
        return f"fused/{name}"

    def _constant(self, name: str, value: Any) -> str:
        array: NDArray[np.int64] = np.array(value, np.int64)
        self.constants.append(make_initializer(f"fused/{name}", array))
        return f"fused/{name}"

    def _take_nodes(self) -> list[Message]:
        nodes, self._nodes = self._nodes, []
        return nodes
