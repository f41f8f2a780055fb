"""Named blocks of the image encoder (Hiera and its pyramid), found in its ONNX graph: where half precision goes wrong.

Nodes are named by number, weights by their place in the model (`trunk.blocks.5.mlp.layers.0.bias`): a node belongs to
the part whose weights were read last, for the graph stands in the order it was traced.
"""

import re
from typing import NamedTuple

from glus_edge.runtime.onnx_rewrite.model import parse_model
from glus_edge.runtime.onnx_rewrite.onnx_fields import GraphProto, NodeProto, TensorProto
from glus_edge.runtime.onnx_rewrite.protobuf import VARINT, Message, every, parse, text

# In the order they are tried. Reported: fused attention silently wrong (TensorRT#4742, #4837), LayerNorm and the sums it
# reads out of float16's range (EfficientTAM#17, EfficientViT#142); the others are where such sums are largest or longest.
BLOCKS = ("attention", "residual", "global blocks", "first stage", "neck")

_STEM, _NECK = -1, 1 << 20
_BLOCK = re.compile(r"(?:^|\.)trunk\.blocks\.(\d+)\.")
_NECK_WEIGHT = re.compile(r"(?:^|\.)(?:convs\.|conv_s[01]\.|neck\.)")
_WINDOW_RANK = 6  # of the view that cuts a map into windows: [1, rows, w, columns, w, channels]


class _Node(NamedTuple):
    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    part: int  # block of the trunk, _STEM or _NECK


def image_encoder_blocks(model: bytes) -> dict[str, frozenset[str]]:
    """Names of the nodes of each of BLOCKS that the serialised graph has."""
    graph = parse_model(model).graph
    nodes = _nodes(graph)
    constants = {text(tensor, TensorProto.NAME): tensor for tensor in map(parse, every(graph, GraphProto.INITIALIZER))}
    windowed = {
        node.part
        for node in nodes
        if node.kind == "Reshape" and node.inputs[1] in constants and _length(constants[node.inputs[1]]) == _WINDOW_RANK
    }
    trunk = [node for node in nodes if 0 <= node.part < _NECK]
    pooled = min((node.part for node in trunk if node.kind == "MaxPool"), default=0)
    found = {
        "attention": _attention(nodes),
        "residual": _residual(trunk, constants),
        "global blocks": {node.name for node in trunk if node.part not in windowed},
        "first stage": {node.name for node in nodes if node.part < pooled},
        "neck": {node.name for node in nodes if node.part == _NECK},
    }
    return {block: frozenset(found[block]) for block in BLOCKS if found[block]}


def _nodes(graph: Message) -> list[_Node]:
    nodes, part = [], _STEM
    for node in map(parse, every(graph, GraphProto.NODE)):
        inputs = tuple(name.decode() for name in every(node, NodeProto.INPUT))
        for name in inputs:
            block = _BLOCK.search(name)
            if block is not None:
                part = int(block.group(1))
            elif _NECK_WEIGHT.search(name):
                part = _NECK
        outputs = tuple(name.decode() for name in every(node, NodeProto.OUTPUT))
        nodes.append(_Node(text(node, NodeProto.NAME), text(node, NodeProto.OP_TYPE), inputs, outputs, part))
    return nodes


def _attention(nodes: list[_Node]) -> set[str]:
    """Both products of every attention, its softmax, its scale, and the casts between."""
    makers = {output: node for node in nodes for output in node.outputs}
    readers: dict[str, list[_Node]] = {}
    for node in nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    chosen: set[str] = set()
    for softmax in (node for node in nodes if node.kind == "Softmax"):
        chosen.add(softmax.name)
        before = makers.get(softmax.inputs[0])
        while before is not None and before.kind in ("Cast", "Mul", "MatMul"):
            chosen.add(before.name)
            # behind the product of queries and keys only the scale is left
            if before.kind == "MatMul":
                scales = (makers.get(name) for name in before.inputs)
                chosen |= {node.name for node in scales if node is not None and node.kind == "Mul"}
                break
            before = makers.get(before.inputs[0])
        after = readers.get(softmax.outputs[0], [])
        while after and after[0].kind in ("Cast", "MatMul"):
            chosen.add(after[0].name)
            after = [] if after[0].kind == "MatMul" else readers.get(after[0].outputs[0], [])
    return chosen


def _residual(trunk: list[_Node], constants: dict[str, Message]) -> set[str]:
    """The sums that run through the whole trunk, and the norms that read them."""
    makers = {output: node for node in trunk for output in node.outputs}
    chosen = {node.name for node in trunk if node.kind == "Add" and not any(name in constants for name in node.inputs)}
    for norm in (node for node in trunk if node.kind == "LayerNormalization"):
        chosen.add(norm.name)
        cast = makers.get(norm.inputs[0])
        if cast is not None and cast.kind == "Cast":
            chosen.add(cast.name)
    return chosen


def _length(tensor: Message) -> int:
    """Elements of a vector, as TensorProto.dims says; 0 for a scalar."""
    sizes = [
        size for number, kind, size in tensor if number == TensorProto.DIMS and kind == VARINT and isinstance(size, int)
    ]
    packed = next(every(tensor, TensorProto.DIMS), b"")  # writers may pack repeated numbers; one this small is one byte
    return sizes[0] if sizes else packed[0] if packed else 0
