"""How much a graph must compute, counted from its ONNX file for given sizes of its varying dimensions."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import onnx
from onnx import inliner, shape_inference

from glus_edge.runtime.errors import BundleError

SMALL = 64  # elements; constants up to this size may be shapes, which shape inference needs to see
ROUNDS = 4  # of shape inference, each starting from the reshapes the last one left open

Shapes = dict[str, tuple[int | None, ...]]


class Work(NamedTuple):
    """One call of a graph."""

    flops: int  # 2 for each multiplication and addition in matrix products and convolutions; the rest is not counted
    weight_bytes: int  # of all constants as they are stored, each read once


class GraphWork:
    """The counter of one graph. Weights are never loaded."""

    def __init__(self, path: Path) -> None:
        self._path = path
        model = onnx.load(path, load_external_data=False)
        self._weight_bytes = sum(map(_stored_bytes, model.graph.initializer))
        self._model = inliner.inline_local_functions(_without_weights(model))
        self._known: dict[tuple[tuple[str, int], ...], Work] = {}

    def work(self, sizes: Mapping[str, int]) -> Work:
        """The work for these sizes, by the names of the signature's axes. BundleError: a product's size stays unknown."""
        key = tuple(sorted(sizes.items()))
        if key not in self._known:
            self._known[key] = Work(self._flops(sizes), self._weight_bytes)
        return self._known[key]

    def _flops(self, sizes: Mapping[str, int]) -> int:
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        for tensor in model.graph.input:
            for dimension in tensor.type.tensor_type.shape.dim:
                if dimension.dim_param:
                    dimension.dim_value = sizes[dimension.dim_param]
        for tensor in model.graph.output:  # what they are follows from the inputs
            tensor.type.tensor_type.ClearField("shape")
        del model.graph.value_info[:]
        for _ in range(ROUNDS):
            model = shape_inference.infer_shapes(model, data_prop=True)
            if not _close_reshapes(model.graph):
                break
        shapes = _shapes(model.graph)
        return sum(self._product_flops(node, shapes) for node in model.graph.node)

    def _product_flops(self, node: onnx.NodeProto, shapes: Shapes) -> int:
        if node.op_type not in ("MatMul", "Gemm", "Conv", "ConvTranspose"):
            return 0
        left, right, out = (shapes.get(name, (None,)) for name in (*node.input[:2], node.output[0]))
        if node.op_type == "ConvTranspose":
            factors: Iterable[int | None] = (*left, *right[1:])  # every input element meets a filter per output channel
        elif node.op_type == "Conv":
            factors = (*out, *right[1:])
        else:
            transposed = any(a.name == "transA" and a.i for a in node.attribute)
            factors = (*out, left[0 if transposed else -1])
        sizes = [factor for factor in factors if factor is not None]
        if None in factors:
            raise BundleError(
                f"{self._path}: {node.op_type} {node.name}: got sizes {left} and {right} to {out}, expected all to "
                "follow from the inputs'; export the bundle again"
            )
        return 2 * math.prod(sizes)


def _close_reshapes(graph: onnx.GraphProto) -> bool:
    """Fills in the one open dimension a Reshape may have; whether there was any."""
    shapes = _shapes(graph)
    tensors = {tensor.name: tensor for tensor in (*graph.value_info, *graph.output)}
    closed = False
    for node in graph.node:
        if node.op_type != "Reshape" or node.output[0] not in tensors:
            continue
        source = shapes.get(node.input[0], (None,))
        dimensions = tensors[node.output[0]].type.tensor_type.shape.dim
        open_ = [dimension for dimension in dimensions if not dimension.HasField("dim_value")]
        if len(open_) == 1 and None not in source:
            rest = math.prod(dimension.dim_value for dimension in dimensions if dimension.HasField("dim_value"))
            open_[0].dim_value = math.prod(size for size in source if size is not None) // max(1, rest)
            closed = True
    return closed


def _shapes(graph: onnx.GraphProto) -> Shapes:
    shapes: Shapes = {
        tensor.name: tuple(
            dimension.dim_value if dimension.HasField("dim_value") else None
            for dimension in tensor.type.tensor_type.shape.dim
        )
        for tensor in (*graph.input, *graph.value_info, *graph.output)
        if tensor.type.tensor_type.HasField("shape")
    }
    return shapes | {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph, its large constants turned into inputs: inference then copies kilobytes, not gigabytes."""
    constants = list(model.graph.initializer)
    del model.graph.initializer[:]
    for constant in constants:
        if math.prod(constant.dims) <= SMALL and constant.data_location != onnx.TensorProto.EXTERNAL:
            model.graph.initializer.append(constant)
        else:
            dims = list(constant.dims)
            model.graph.input.append(onnx.helper.make_tensor_value_info(constant.name, constant.data_type, dims))
    return model


def _stored_bytes(tensor: onnx.TensorProto) -> int:
    elements = math.prod(map(int, tensor.dims))
    if tensor.data_type in (onnx.TensorProto.INT4, onnx.TensorProto.UINT4):
        return (elements + 1) // 2
    return elements * int(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
