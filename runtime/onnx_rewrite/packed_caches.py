"""The language model's graph with all caches in three tensors, and its mask made from positions; made for engines of GPUs.

As exported, every layer has two inputs and an output for its keys and two and one for its values, and the host makes the
mask: 196 tensors and up to 4 MB a call for 32 layers. Here prefix, past and new rows of all layers are one tensor each, and
a row whose position is negative is seen by no one. Such a row is zeros in every layer, whatever stands in its place of
`inputs_embeds`.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from glus_edge.runtime.bundle.signatures import MASKED, GraphSignature, TensorSignature
from glus_edge.runtime.onnx_rewrite.edit import (
    graph_with_nodes,
    inputs_of,
    make_initializer,
    make_node,
    outputs_of,
)
from glus_edge.runtime.onnx_rewrite.graph_builder import value_info
from glus_edge.runtime.onnx_rewrite.model import parse_model
from glus_edge.runtime.onnx_rewrite.onnx_fields import GraphProto, NodeProto
from glus_edge.runtime.onnx_rewrite.protobuf import BYTES, Field, Message, every, parse, string

VERSION = 1  # of the graph that is made here: an engine of another one is not used

# Products of 110 to 128 rows cost the same on tensor cores, and a turn of the query window has about 110. Four turns, as
# `exact` computes them anew, fit into 448, and so does the shared prefix of 332.
_NEW_TOKENS = (128, 448)
_EMBEDDINGS = ("embeddings/rows_fp32", "embeddings/rows")  # [T, B, L], float32; the first that there is


def new_token_sizes(largest: int) -> tuple[int, ...]:
    """The sizes that rows computed in one call are padded to, ascending; `largest` is the last of them."""
    return (*(size for size in _NEW_TOKENS if size < largest), largest)


def packed_signature(exact: GraphSignature, new_tokens: tuple[int, ...]) -> GraphSignature:
    """The tensors of the packed graph of a language model whose exported graph has those of `exact`.

    `new_tokens`: the sizes that axis may have. inputs_embeds [sentences, new_tokens, width], positions
    [sentences, new_tokens] and past_positions [sentences, past_tokens], below 0 where there is no row; prefix
    [2 * layers, prefix_tokens, heads, head width], past [2 * layers, past_tokens, sentences, heads, head width] and the
    output new [2 * layers, new_tokens, sentences, heads, head width]: keys of a layer, then its values.
    """
    caches = 2 * sum(tensor.name.startswith("past_key_") for tensor in exact.inputs)
    shapes = {tensor.name: tensor for tensor in (*exact.inputs, *exact.outputs)}

    def packed(name: str) -> TensorSignature:
        first = shapes[f"{name}_key_0"]
        return TensorSignature(name, first.dtype, (caches, *first.shape))

    kept = tuple(shapes[name] for name in ("inputs_embeds", "positions", "past_positions"))
    heads = tuple(tensor for tensor in exact.outputs if not tensor.name.startswith("new_"))
    axes = {name: axis for name, axis in exact.axes.items() if name != "all_tokens"}
    axes["new_tokens"] = replace(
        axes["new_tokens"], minimum=new_tokens[0], optimum=new_tokens[0], maximum=new_tokens[-1], sizes=new_tokens
    )
    axes["past_tokens"] = replace(axes["past_tokens"], optimum=axes["past_tokens"].maximum // 2)
    return GraphSignature((*kept, packed("prefix"), packed("past")), (*heads, packed("new")), axes)


def model_with_packed_caches(model: bytes, signature: GraphSignature) -> bytes:
    """The serialised model with the tensors of `signature`. ValueError: it is not one that export writes."""
    parsed = parse_model(model)
    graph = parsed.graph
    rewrite = _PackedCaches(graph)
    kept = {"inputs_embeds", "positions", "past_positions"}
    changed = [
        field
        for field in graph_with_nodes(graph, rewrite.nodes(), rewrite.constants)
        if field.number not in (GraphProto.INPUT, GraphProto.OUTPUT)
    ]
    changed += [
        Field(GraphProto.INPUT, BYTES, value) for value in every(graph, GraphProto.INPUT) if _name(value) in kept
    ]
    changed += [Field(GraphProto.INPUT, BYTES, value_info(t)) for t in signature.inputs if t.name not in kept]
    changed += [
        Field(GraphProto.OUTPUT, BYTES, value)
        for value in every(graph, GraphProto.OUTPUT)
        if not _name(value).startswith("new_")
    ]
    changed += [Field(GraphProto.OUTPUT, BYTES, value_info(t)) for t in signature.outputs if t.name == "new"]
    return parsed.with_graph(changed)


def _name(value: bytes) -> str:
    return next(every(parse(value), 1)).decode()


class _PackedCaches:
    """Makes the nodes; `constants` are the initializers that they read."""

    def __init__(self, graph: Message) -> None:
        self.constants: list[Field] = []
        self._nodes = [parse(content) for content in every(graph, GraphProto.NODE)]
        self._made = {name for node in self._nodes for name in outputs_of(node)}
        self._added: list[Message] = []

    def nodes(self) -> list[Message]:
        layers = sum(name.startswith("new_key_") for name in self._made)
        embeddings = next((name for name in _EMBEDDINGS if name in self._made), "")
        if not layers or not embeddings or "new/positions_fp32" not in self._made:
            raise ValueError("it is no language model as export writes it; export the bundle again")
        self._common()
        self._unpack(layers)
        nodes, masked = self._take(), False
        for node in self._nodes:
            if "attention_mask" in inputs_of(node) and not masked:
                self._mask()
                nodes, masked = [*nodes, *self._take()], True
            made = embeddings in outputs_of(node)
            nodes.append(_with_output(node, embeddings, "packed/embeddings") if made else node)
            if made:
                self._hide_missing("packed/embeddings", embeddings)
                nodes += self._take()
        self._pack(layers)
        return nodes + self._take()

    def _common(self) -> None:
        for name, value in (
            ("zero", np.array(0, np.float32)),
            ("masked", np.array(MASKED, np.float32)),
            ("start", np.array(0, np.int64)),
            ("step", np.array(1, np.int64)),
            ("axis_0", np.array([0], np.int64)),
            ("axis_1", np.array([1], np.int64)),
            ("axis_2", np.array([2], np.int64)),
        ):
            self._constant(name, value)

    def _unpack(self, layers: int) -> None:
        """The inputs of every layer as the exported graph reads them."""
        for layer in range(layers):
            for i, kind in enumerate(("key", "value")):
                place = self._constant(f"place_{2 * layer + i}", np.array(2 * layer + i, np.int64))
                for part in ("prefix", "past"):
                    node = make_node("Gather", [part, place], f"{part}_{kind}_{layer}", {"axis": 0})
                    self._added.append(node)

    def _pack(self, layers: int) -> None:
        rows = [
            self._add("Unsqueeze", [f"new_{kind}_{layer}", "packed/axis_0"], f"new_{kind}_{layer}")
            for layer in range(layers)
            for kind in ("key", "value")
        ]
        self._added.append(make_node("Concat", rows, "new", {"axis": 0}))

    def _mask(self) -> None:
        """attention_mask [B, T, P+S+T]: as Prefill.attention_mask has it, but a row that is not there sees only itself."""
        new = self._add("Shape", ["positions"], "new_length", start=1, end=2)
        count = self._add("Squeeze", [new, "packed/axis_0"], "new_count")
        batch = self._add("Shape", ["positions"], "sentences", start=0, end=1)
        bias = {}
        for part in ("past", "new"):
            columns = self._add("Transpose", [f"{part}/positions_fp32"], f"{part}_columns", perm=[1, 0])  # [B, rows]
            missing = self._add("Less", [columns, "packed/zero"], f"{part}_missing")
            hidden = self._add("Where", [missing, "packed/masked", "packed/zero"], f"{part}_hidden")
            bias[part] = self._add("Unsqueeze", [hidden, "packed/axis_1"], f"{part}_bias")  # [B, 1, rows]
        places = self._add("Range", ["packed/start", count, "packed/step"], "places")
        self._add("Cast", [places], "places_fp32", to=1)
        above = self._add("Unsqueeze", ["packed/places_fp32", "packed/axis_0"], "key_places")  # [1, T]
        beside = self._add("Unsqueeze", ["packed/places_fp32", "packed/axis_1"], "query_places")  # [T, 1]
        later = self._add("Less", [beside, above], "later")
        itself = self._add("Equal", [beside, above], "itself")
        causal = self._add("Where", [later, "packed/masked", bias["new"]], "causal")  # [B, T, T]
        own = self._add("Where", [itself, "packed/zero", causal], "new_mask")
        absent = self._add("Unsqueeze", ["packed/new_missing", "packed/axis_2"], "absent")  # [B, T, 1]
        earlier = self._add("Where", [absent, "packed/masked", bias["past"]], "past_mask")  # [B, T, S]
        blind = self._add("Where", [absent, "packed/masked", "packed/zero"], "blind")
        shape = self._add("Concat", [batch, new, "prefix/length"], "prefix_shape", axis=0)
        shared = self._add("Expand", [blind, shape], "prefix_mask")
        self._added.append(make_node("Concat", [shared, earlier, own], "attention_mask", {"axis": 2}))

    def _hide_missing(self, source: str, target: str) -> None:
        """Rows that are not there as zeros, [T, B, L]."""
        rows = self._add("Unsqueeze", ["new/positions_fp32", "packed/axis_2"], "rows")
        missing = self._add("Less", [rows, "packed/zero"], "rows_missing")
        self._added.append(make_node("Where", [missing, "packed/zero", source], target, name="packed/rows_there"))

    def _add(self, operator: str, inputs: list[str], name: str, **attributes: int | list[int]) -> str:
        self._added.append(make_node(operator, inputs, f"packed/{name}", attributes))
        return f"packed/{name}"

    def _constant(self, name: str, value: NDArray[np.float32] | NDArray[np.int64]) -> str:
        self.constants.append(make_initializer(f"packed/{name}", value))
        return f"packed/{name}"

    def _take(self) -> list[Message]:
        nodes, self._added = self._added, []
        return nodes


def _with_output(node: Message, name: str, other: str) -> Message:
    """The node with another name for one of its outputs."""
    encoded = name.encode()
    return [
        string(NodeProto.OUTPUT, other) if field.number == NodeProto.OUTPUT and field.value == encoded else field
        for field in node
    ]
