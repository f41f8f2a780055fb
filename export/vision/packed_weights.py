"""int8 storage for the weights of traced graphs: a quarter of the size, computed in float as before.

A matrix or kernel becomes int8 with one float32 scale per output channel behind a DequantizeLinear. The torch modules are
rounded to the same values before they are traced, so that parity compares the graph alone.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

INT8_MAXIMUM = 127
SMALLEST_WEIGHTS = 4096  # values; what is smaller stays float32
# Which axis of an operator's second input counts its output channels.
_OUTPUT_AXES = {"MatMul": -1, "Gemm": -1, "Conv": 0, "ConvTranspose": 1}
_MODULE_AXES: dict[type[nn.Module], int] = {nn.Linear: 0, nn.Conv2d: 0, nn.ConvTranspose2d: 1}


class PackedWeights(NamedTuple):
    """int8 values and the scales of their output channels."""

    values: NDArray[np.int8]
    scales: NDArray[np.float32]  # one per output channel, strictly positive


def packed(weights: NDArray[np.floating], axis: int) -> PackedWeights:
    """Rounds to nearest against the largest magnitude of each channel along `axis`."""
    whole = np.asarray(weights, np.float32)
    others = tuple(i for i in range(whole.ndim) if i != axis)
    scales = np.maximum(np.abs(whole).max(others) / np.float32(INT8_MAXIMUM), np.finfo(np.float32).tiny)
    shape = [-1 if i == axis else 1 for i in range(whole.ndim)]
    values = np.rint(whole / scales.reshape(shape)).clip(-INT8_MAXIMUM, INT8_MAXIMUM)
    return PackedWeights(values.astype(np.int8), scales.astype(np.float32))


def round_weights(module: nn.Module) -> None:
    """Gives every large weight of linear and convolution layers the value its int8 form stands for, in place."""
    for part in module.modules():
        axis = _MODULE_AXES.get(type(part))
        weight = getattr(part, "weight", None)
        if axis is None or not isinstance(weight, torch.Tensor) or weight.numel() < SMALLEST_WEIGHTS:
            continue
        values, scales = packed(weight.detach().numpy(), axis)
        shape = [-1 if i == axis else 1 for i in range(weight.dim())]
        with torch.no_grad():
            weight.copy_(torch.from_numpy(values * scales.reshape(shape)))


def pack_weights(path: Path) -> None:
    """Stores the large float32 weights of the graph `path` as int8 behind a DequantizeLinear each, in place."""
    model = onnx.load(str(path))
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    axes: dict[str, set[int]] = {}
    for node in graph.node:
        if node.op_type in _OUTPUT_AXES and len(node.input) > 1 and node.input[1] in weights:
            axes.setdefault(node.input[1], set()).add(_axis(node, len(weights[node.input[1]].dims)))
    added = []
    for name, channels in axes.items():
        tensor = weights[name]
        if tensor.data_type != onnx.TensorProto.FLOAT or int(np.prod(tensor.dims)) < SMALLEST_WEIGHTS:
            continue
        if len(channels) > 1:  # used both ways round: no one axis serves
            continue
        (axis,) = channels
        values, scales = packed(numpy_helper.to_array(tensor), axis)
        tensor.CopyFrom(numpy_helper.from_array(values, f"{name}/int8"))
        graph.initializer.append(numpy_helper.from_array(scales, f"{name}/scale"))
        inputs = [f"{name}/int8", f"{name}/scale"]
        added.append(onnx.helper.make_node("DequantizeLinear", inputs, [name], name=f"{name}/dequantise", axis=axis))
    nodes = [*added, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _axis(node: onnx.NodeProto, rank: int) -> int:
    transposed = any(each.name == "transB" and each.i for each in node.attribute)
    return (0 if transposed else _OUTPUT_AXES[node.op_type]) % rank
