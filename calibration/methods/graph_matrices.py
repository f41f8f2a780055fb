"""The matrices and kernels of a traced graph whose products may be computed in 8 bits."""

import re
from typing import NamedTuple

import onnx

_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
_UNIT = re.compile(r"(.*?\.\d+)\..+")  # 'trunk.blocks.7.attn.qkv.weight' -> 'trunk.blocks.7'


class GraphMatrix(NamedTuple):
    """One weight, and where it is used."""

    name: str  # of the initializer: the parameter's own name
    operator: str  # 'MatMul' or 'Conv'
    value: str  # the tensor it multiplies
    nodes: tuple[int, ...]  # places of the nodes that use it on that tensor
    shape: tuple[int, ...]  # [K, N] of a MatMul, [out, in, height, width] of a Conv

    @property
    def output_axis(self) -> int:
        """The axis of the output channels, each of which has a scale of its own."""
        return 1 if self.operator == "MatMul" else 0

    @property
    def unit(self) -> str:
        """The block it belongs to, as precision is chosen for."""
        return unit_of(self.name)


def unit_of(name: str) -> str:
    """'model.layers.3.mlp.up_proj.weight' -> 'model.layers.3'; 'lm_head.weight' -> 'lm_head'."""
    match = _UNIT.fullmatch(name)
    return match[1] if match else name.removesuffix(".weight")


def graph_matrices(model: onnx.ModelProto) -> list[GraphMatrix]:
    """In the order of the graph. What reads the pixels themselves stays out: three channels gain nothing.

    Residual additions, norms, softmax and the two products of an attention hold no weight and stay out by themselves.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer if tensor.data_type in _FLOATS}
    pixels = _straight_from_inputs(model)
    found: dict[tuple[str, str], GraphMatrix] = {}
    for place, node in enumerate(model.graph.node):
        if node.op_type not in ("MatMul", "Conv") or node.input[1] not in weights or node.input[0] in pixels:
            continue
        weight = weights[node.input[1]]
        if node.op_type == "MatMul" and len(weight.dims) != 2:
            continue
        key = (weight.name, node.input[0])
        nodes = (*found[key].nodes, place) if key in found else (place,)
        found[key] = GraphMatrix(weight.name, node.op_type, node.input[0], nodes, tuple(weight.dims))
    # a weight that multiplies several tensors would need several ranges: none of ours does
    return [matrix for matrix in found.values() if sum(other[0] == matrix.name for other in found) == 1]


def _straight_from_inputs(model: onnx.ModelProto) -> set[str]:
    names = {value.name for value in model.graph.input}
    for node in model.graph.node:
        if node.op_type == "Cast" and node.input[0] in names:
            names.add(node.output[0])
    return names
