"""Matrices behind a norm, and scales folded between the two: what the norm makes shrinks, the matrices' rows grow, and the
graph computes what it computed.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from glus_edge.calibration.methods.graph_matrices import GraphMatrix


class NormGroup(NamedTuple):
    """All that reads what one LayerNormalization makes: MatMuls, each over its channels whole and in order."""

    norm: int  # place of the node
    matrices: tuple[str, ...]  # of the initializers

    @property
    def name(self) -> str:
        """The first matrix's: norms of equal weights may share an initializer."""
        return self.matrices[0]


def norm_groups(model: onnx.ModelProto, matrices: Sequence[GraphMatrix]) -> list[NormGroup]:
    """In the order of the graph. A norm whose output goes anywhere else as well is left out."""
    graph = _Graph(model, matrices)
    found = ((place, graph.behind(place)) for place in range(len(model.graph.node)))
    return [NormGroup(place, tuple(names)) for place, names in found if names]


def with_shifts(
    model: onnx.ModelProto, groups: Sequence[NormGroup], shifts: Mapping[str, NDArray[np.float32]]
) -> onnx.ModelProto:
    """A copy of `model` in which what the norm of a group makes is divided by its shift [K], if it has one."""
    edited = onnx.ModelProto()
    edited.CopyFrom(model)
    weights = {tensor.name: tensor for tensor in edited.graph.initializer}
    for group in groups:
        if group.name not in shifts:
            continue
        shift, norm = shifts[group.name], edited.graph.node[group.norm]
        for place, kind in enumerate(("scale", "bias")[: len(norm.input) - 1], start=1):
            # a new constant: other norms may read the old one
            shrunk = _product(weights[norm.input[place]], np.reciprocal(shift), f"{group.name}/norm_{kind}")
            edited.graph.initializer.append(shrunk)
            norm.input[place] = shrunk.name
        for name in group.matrices:
            weights[name].CopyFrom(_product(weights[name], shift[:, None], name))
    used = {name for node in edited.graph.node for name in node.input}
    kept = [tensor for tensor in edited.graph.initializer if tensor.name in used]
    if len(kept) < len(edited.graph.initializer):
        copies = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
        del edited.graph.initializer[:]
        edited.graph.initializer.extend(copies)
    return edited


class _Graph:
    """Who reads what."""

    def __init__(self, model: onnx.ModelProto, matrices: Sequence[GraphMatrix]) -> None:
        self._nodes = model.graph.node
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._outputs = {value.name for value in model.graph.output}
        self._matrices = {
            place: matrix.name for matrix in matrices if matrix.operator == "MatMul" for place in matrix.nodes
        }
        self._readers: dict[str, list[int]] = {}
        for place, node in enumerate(self._nodes):
            for name in node.input:
                self._readers.setdefault(name, []).append(place)

    def behind(self, place: int) -> list[str]:
        """The matrices that are all that reads this node, if it is a norm over the last axis; else none."""
        node = self._nodes[place]
        if node.op_type != "LayerNormalization" or _whole(node, "axis", -1) != -1:
            return []
        if not all(name in self._constants for name in node.input[1:]):
            return []
        channels = self._constants[node.input[1]].dims[0]
        found: list[str] = []
        values = [node.output[0]]
        while values:
            value = values.pop()
            if value in self._outputs:
                return []
            for reader in self._readers.get(value, []):
                if reader in self._matrices:
                    found.append(self._matrices[reader])
                elif self._keeps_channels(self._nodes[reader], channels):
                    values.append(self._nodes[reader].output[0])
                else:
                    return []
        order = list(dict.fromkeys(self._matrices.values()))
        return sorted(dict.fromkeys(found), key=order.index)

    def _keeps_channels(self, node: onnx.NodeProto, channels: int) -> bool:
        """Whether a node only moves rows: the last axis stays the channels, in order, and zeros alone are added."""
        if node.op_type in ("Cast", "Identity"):
            return True
        if node.op_type == "Transpose":
            order = next((list(a.ints) for a in node.attribute if a.name == "perm"), [])
            return bool(order) and order[-1] == len(order) - 1
        if node.op_type == "Reshape":
            shape = self._values(node.input[1])
            return shape is not None and int(shape[-1]) == channels
        if node.op_type == "Pad":
            pads, filled = self._values(node.input[1]), self._values(node.input[2]) if len(node.input) > 2 else None
            zero = len(node.input) < 3 or not node.input[2] or (filled is not None and not filled.any())
            return pads is not None and len(node.input) < 4 and zero and not (pads[-1] or pads[len(pads) // 2 - 1])
        return False

    def _values(self, name: str) -> NDArray[Any] | None:
        return numpy_helper.to_array(self._constants[name]) if name in self._constants else None


def _whole(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == name), default)


def _product(tensor: onnx.TensorProto, factor: NDArray[np.float32], name: str) -> onnx.TensorProto:
    values = numpy_helper.to_array(tensor)
    return numpy_helper.from_array((values.astype(np.float32) * factor).astype(values.dtype), name)
