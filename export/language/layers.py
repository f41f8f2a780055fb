"""The layers of a LLaMA as ONNX nodes: RMSNorm, rotary attention over prefix | past | new, SwiGLU.

Keys and values of the three parts are joined, so that attention is one MatMul, Softmax, MatMul, the form TensorRT fuses.
Three products each instead, without the joins, were measured on ONNX Runtime (CPU, width 1024, 8 layers, 110 new rows on
330 shared ones): 101 ms against 100 ms for one sentence, 690 ms both for eight.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from glus_edge.export.language.graph_writer import ELEMENT_TYPES, GraphWriter
from glus_edge.export.language.weights import LanguageWeights
from glus_edge.runtime.bundle.signatures import ModelDimensions


class Rotation(NamedTuple):
    """Names of cosines and sines, [rows, B, 1, Dh/2] float32."""

    cos: str
    sin: str


@dataclass(frozen=True)
class CachedAttention:
    """What the attention of all layers shares."""

    dimensions: ModelDimensions
    batch: str  # shape [P, B, Hkv, Dh] to which the batch-less prefix is expanded
    keys: Rotation  # of prefix | past | new
    queries: Rotation  # of new, 1 / sqrt(Dh) folded in
    last_query: Rotation  # of the last row
    mask: str  # [B, 1, G*T, P+S+T] float32, G = heads per key-value head
    last_mask: str  # [B, 1, G, P+S+T]

    @classmethod
    def shared(cls, graph: GraphWriter, dimensions: ModelDimensions, parts: dict[str, Rotation]) -> "CachedAttention":
        """Append the nodes that all layers share. parts: rotations of 'prefix' [P,1,...], 'past' and 'new'."""
        width = dimensions.head_width
        head = graph.int64(dimensions.key_value_heads, width)
        graph.node("Shape", ["inputs_embeds"], "batch/count", start=0, end=1)
        graph.node("Concat", ["prefix/length", "batch/count", head], "batch/prefix_shape", axis=0)
        graph.node("Concat", ["prefix/length", "batch/count", graph.int64(1, width // 2)], "batch/angles", axis=0)
        scale = graph.constant("rotary/scale", np.array(1 / math.sqrt(width), np.float32))
        keys, queries, last = [], [], []
        for kind in ("cos", "sin"):
            prefix = graph.node("Expand", [getattr(parts["prefix"], kind), "batch/angles"], f"prefix/{kind}_expanded")
            new = getattr(parts["new"], kind)
            every = [prefix, getattr(parts["past"], kind), new]
            keys.append(graph.node("Concat", every, f"rotary/key_{kind}", axis=0))
            queries.append(graph.node("Mul", [new, scale], f"rotary/query_{kind}"))
            last.append(last_row(graph, queries[-1], f"rotary/last_query_{kind}"))
        return cls(
            dimensions,
            "batch/prefix_shape",
            Rotation(*keys),
            Rotation(*queries),
            Rotation(*last),
            *_masks(graph, dimensions.language_heads // dimensions.key_value_heads),
        )


def _masks(graph: GraphWriter, groups: int) -> tuple[str, str]:
    mask = graph.node("Unsqueeze", ["attention_mask", graph.int64(1)], "mask/all")
    last = graph.node("Slice", [mask, graph.int64(-1), graph.int64(2**31 - 1), graph.int64(2)], "mask/last")
    if groups == 1:
        return mask, last
    # Queries of the heads that share a key stand behind one another: each needs its own copy of the mask's rows.
    mask = graph.node("Concat", [mask] * groups, "mask/all_grouped", axis=2)
    return mask, graph.node("Concat", [last] * groups, "mask/last_grouped", axis=2)


def last_row(graph: GraphWriter, value: str, name: str) -> str:
    """The last row of [T, ...]: [1, ...]."""
    return graph.node("Slice", [value, graph.int64(-1), graph.int64(2**31 - 1), graph.int64(0)], name)


def layer_output(number: int) -> str:
    """The name of the hidden states that a layer gives, float32 in every precision."""
    return f"layer_{number}/mlp_output_added"


class Layers:
    """Appends layers to a graph; hidden states are [T, B, L] float32."""

    def __init__(self, graph: GraphWriter, checkpoint: LanguageWeights, attention: CachedAttention) -> None:
        self._graph = graph
        self._checkpoint = checkpoint
        self._attention = attention
        self._compute = ELEMENT_TYPES[graph.compute]
        graph.constant("norm/epsilon", np.array(checkpoint.config.rms_norm_eps, np.float32))
        graph.constant("norm/square", np.array(2, np.float32))

    def embeddings(self) -> str:
        """inputs_embeds [B, T, L] as hidden states."""
        rows = self._graph.node("Transpose", ["inputs_embeds"], "embeddings/rows", perm=[1, 0, 2])
        return self._float32(rows)

    def layer(self, hidden: str, number: int, last: bool) -> str:
        """One layer: new hidden states, new_key and new_value outputs. The last layer goes on with the last row only."""
        graph, prefix, at = self._graph, f"model.layers.{number}.", f"layer_{number}"
        rows = self.norm(hidden, f"{prefix}input_layernorm.weight", f"{at}/attention_norm")
        keys = self._heads(self._linear(rows, f"{prefix}self_attn.k_proj", f"{at}/key"), f"new_key_{number}")
        values = self._heads(self._linear(rows, f"{prefix}self_attn.v_proj", f"{at}/value"), f"new_value_{number}")
        if last:
            rows, hidden = last_row(graph, rows, f"{at}/last_rows"), last_row(graph, hidden, f"{at}/last_hidden")
        queries = self._linear(rows, f"{prefix}self_attn.q_proj", f"{at}/query")
        attended = self._attend(queries, keys, values, number, last)
        hidden = self._add(hidden, self._linear(attended, f"{prefix}self_attn.o_proj", f"{at}/attention_output"))

        rows = self.norm(hidden, f"{prefix}post_attention_layernorm.weight", f"{at}/mlp_norm")
        gate = self._linear(rows, f"{prefix}mlp.gate_proj", f"{at}/gate")
        up = self._linear(rows, f"{prefix}mlp.up_proj", f"{at}/up")
        sigmoid = graph.node("Sigmoid", [gate], f"{at}/sigmoid")
        silu = graph.node("Mul", [gate, sigmoid], f"{at}/silu")
        product = graph.node("Mul", [silu, up], f"{at}/gated")
        change = self._float32(self._linear(product, f"{prefix}mlp.down_proj", f"{at}/mlp_output"))
        return graph.node("Add", [hidden, change], layer_output(number))

    def norm(self, hidden: str, weight_name: str, name: str) -> str:
        """RMSNorm in float32, result in the compute dtype."""
        graph = self._graph
        weight = graph.vector(weight_name, self._checkpoint.tensor(weight_name), "float32")
        square = graph.node("Pow", [hidden, "norm/square"], f"{name}/square")
        mean = graph.node("ReduceMean", [square, graph.int64(-1)], f"{name}/mean", keepdims=1)
        guarded = graph.node("Add", [mean, "norm/epsilon"], f"{name}/guarded")
        root = graph.node("Sqrt", [guarded], f"{name}/root")
        normal = graph.node("Div", [hidden, root], f"{name}/normal")
        return self._in_compute(graph.node("Mul", [normal, weight], name))

    def _attend(self, queries: str, keys: str, values: str, number: int, last: bool) -> str:
        """CachedAttention of queries [T, B, H*Dh] over prefix | past | new: [T, B, H*Dh] in the compute dtype."""
        graph, shared, at = self._graph, self._attention, f"layer_{number}"
        heads, width = shared.dimensions.language_heads, shared.dimensions.head_width
        kv_heads = shared.dimensions.key_value_heads
        groups = heads // kv_heads
        split = graph.node("Reshape", [queries, graph.int64(0, 0, heads, width)], f"{at}/query_heads")
        turned = self._rotate(split, shared.last_query if last else shared.queries, f"{at}/query")
        if groups == 1:
            query = graph.node("Transpose", [turned], f"{at}/queries", perm=[1, 2, 0, 3])
        else:
            grouped = graph.node("Reshape", [turned, graph.int64(0, 0, kv_heads, groups, width)], f"{at}/query_groups")
            moved = graph.node("Transpose", [grouped], f"{at}/query_moved", perm=[1, 2, 3, 0, 4])
            query = graph.node("Reshape", [moved, graph.int64(0, 0, -1, width)], f"{at}/queries")
        every_key = self._joined(f"prefix_key_{number}", f"past_key_{number}", keys, f"{at}/key")
        every_value = self._joined(f"prefix_value_{number}", f"past_value_{number}", values, f"{at}/value")
        rotated = self._rotate(every_key, shared.keys, f"{at}/key")
        key = graph.node("Transpose", [rotated], f"{at}/keys", perm=[1, 2, 3, 0])
        value = graph.node("Transpose", [every_value], f"{at}/values", perm=[1, 2, 0, 3])

        scores = self._float32(graph.node("MatMul", [query, key], f"{at}/scores"))
        masked = graph.node("Add", [scores, shared.last_mask if last else shared.mask], f"{at}/masked_scores")
        shares = self._in_compute(graph.node("Softmax", [masked], f"{at}/shares", axis=-1))
        mixed = graph.node("MatMul", [shares, value], f"{at}/mixed")
        if groups == 1:
            rows = graph.node("Transpose", [mixed], f"{at}/mixed_rows", perm=[2, 0, 1, 3])
        else:
            ungrouped = graph.node("Reshape", [mixed, graph.int64(0, 0, groups, -1, width)], f"{at}/mixed_groups")
            rows = graph.node("Transpose", [ungrouped], f"{at}/mixed_rows", perm=[3, 0, 1, 2, 4])
        return graph.node("Reshape", [rows, graph.int64(0, 0, heads * width)], f"{at}/attended")

    def _joined(self, prefix: str, past: str, new: str, name: str) -> str:
        graph = self._graph
        unsqueezed = graph.node("Unsqueeze", [prefix, graph.int64(1)], f"{name}_prefix")
        expanded = graph.node("Expand", [unsqueezed, self._attention.batch], f"{name}_prefix_expanded")
        return graph.node("Concat", [expanded, past, new], f"{name}_all", axis=0)

    def _rotate(self, value: str, rotation: Rotation, name: str) -> str:
        """Rotate-half positions of [rows, B, heads, Dh], computed in float32."""
        graph = self._graph
        first, second = graph.split(self._float32(value), (f"{name}_first", f"{name}_second"), axis=3)
        a = graph.node("Mul", [first, rotation.cos], f"{name}_first_cos")
        b = graph.node("Mul", [second, rotation.sin], f"{name}_second_sin")
        c = graph.node("Mul", [second, rotation.cos], f"{name}_second_cos")
        d = graph.node("Mul", [first, rotation.sin], f"{name}_first_sin")
        left = graph.node("Sub", [a, b], f"{name}_left")
        right = graph.node("Add", [c, d], f"{name}_right")
        return self._in_compute(graph.node("Concat", [left, right], f"{name}_rotated", axis=3))

    def _linear(self, value: str, weight: str, name: str) -> str:
        tensor = f"{weight}.weight"
        return self._graph.linear(value, tensor, lambda: self._checkpoint.tensor(tensor), name)

    def _heads(self, value: str, name: str) -> str:
        shared = self._attention.dimensions
        return self._graph.node(
            "Reshape", [value, self._graph.int64(0, 0, shared.key_value_heads, shared.head_width)], name
        )

    def _add(self, hidden: str, change: str) -> str:
        return self._graph.node("Add", [hidden, self._float32(change)], f"{change}_added")

    def _float32(self, value: str) -> str:
        return value if self._graph.compute == "float32" else self._graph.node("Cast", [value], f"{value}_fp32", to=1)

    def _in_compute(self, value: str) -> str:
        compute = self._graph.compute
        return value if compute == "float32" else self._graph.node("Cast", [value], f"{value}_fp16", to=self._compute)
