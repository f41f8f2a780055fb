"""8-bit products in a graph, said in standard ONNX: QuantizeLinear and DequantizeLinear on activations, DequantizeLinear
on weights stored in 8 bits. ONNX Runtime and TensorRT compute such products in 8 bits, each in its own way.

Everything is symmetric: activations have one scale, weights one per output channel. TensorRT takes nothing else.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from glus_edge.calibration.methods.graph_matrices import GraphMatrix
from glus_edge.calibration.methods.ranges import LEVELS, SMALLEST

# From 19 on Q/DQ take float16 and float8; what else changed after 18 only admits more types.
# WAR(onnxruntime 1.32): in an opset 21 graph it makes a Gemm of MatMul and bias with a QuantizeLinear it then refuses.
OPSET = 19
IR_VERSION = 10
_TYPES = {"int8": TensorProto.INT8, "fp8": TensorProto.FLOAT8E4M3FN}
PRECISIONS = tuple(_TYPES)


class EightBits(NamedTuple):
    """How one matrix's products are computed."""

    precision: str  # 'int8' or 'fp8' (E4M3)
    reach: float  # the largest magnitude of its inputs that is represented


def with_eight_bits(
    model: onnx.ModelProto, matrices: list[GraphMatrix], choices: Mapping[str, EightBits]
) -> onnx.ModelProto:
    """A copy of `model` in which the matrices named in `choices` multiply in 8 bits."""
    edited = onnx.ModelProto()
    edited.CopyFrom(model)
    edited.opset_import[0].version = max(OPSET, edited.opset_import[0].version)
    edited.ir_version = max(IR_VERSION, edited.ir_version)
    edit = _Edit(edited)
    for matrix in matrices:
        if matrix.name in choices:
            edit.quantise(matrix, choices[matrix.name])
    edit.finish()
    return edited


def rounded_inputs(values: NDArray[np.float32], choice: EightBits) -> NDArray[np.float32]:
    """What the graph makes of activations."""
    scale = np.float32(choice.reach / LEVELS[choice.precision])
    return _rounded(values / scale, choice.precision) * scale


def rounded_weights(weights: NDArray[np.float32], axis: int, precision: str) -> NDArray[np.float32]:
    """What the graph makes of a weight whose output channels lie along `axis`."""
    scale = _weight_scales(weights, axis, precision)
    shape = [-1 if place == axis else 1 for place in range(weights.ndim)]
    return _rounded(weights / scale.reshape(shape), precision) * scale.reshape(shape)


class _Edit:
    def __init__(self, model: onnx.ModelProto) -> None:
        self._model, self._graph = model, model.graph
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self._before: dict[int, list[onnx.NodeProto]] = {}  # place of a node -> nodes to insert before it
        self._values: dict[tuple[str, str, float], str] = {}  # value, precision, reach -> name of the rounded value

    def quantise(self, matrix: GraphMatrix, choice: EightBits) -> None:
        tensor = self._weights[matrix.name]
        weights = numpy_helper.to_array(tensor)
        scales = _weight_scales(weights.astype(np.float32), matrix.output_axis, choice.precision)
        stored_scales = np.maximum(scales.astype(weights.dtype), np.finfo(weights.dtype).smallest_subnormal)
        shape = [-1 if place == matrix.output_axis else 1 for place in range(weights.ndim)]
        values = _rounded(weights / stored_scales.astype(np.float32).reshape(shape), choice.precision)
        tensor.CopyFrom(_tensor(matrix.name, values, choice.precision))
        scale = self._constant(f"{matrix.name}.scale", stored_scales)
        first = min(matrix.nodes)
        restored = f"{matrix.name}.dequantised"
        node = helper.make_node(
            "DequantizeLinear", [matrix.name, scale], [restored], name=restored, axis=matrix.output_axis
        )
        self._before.setdefault(first, []).append(node)
        value = self._value(matrix.value, choice, first, weights.dtype)
        for place in matrix.nodes:
            self._graph.node[place].input[0] = value
            self._graph.node[place].input[1] = restored

    def _value(self, name: str, choice: EightBits, place: int, dtype: "np.dtype[Any]") -> str:
        """The activation rounded to 8 bits and back; one pair of nodes serves all matrices that read it alike.

        Matrices come in the order of the graph, so that the pair stands before all its readers.
        """
        key = (name, choice.precision, choice.reach)
        if key in self._values:
            return self._values[key]
        alike = sum(known[:2] == key[:2] for known in self._values)
        label = f"{name}/{choice.precision}" + (f"_{alike}" if alike else "")
        smallest = np.finfo(dtype).smallest_subnormal
        scale = np.maximum(np.array(choice.reach / LEVELS[choice.precision]).astype(dtype), smallest)
        zero = _tensor(f"{label}/zero", np.zeros((), np.float32), choice.precision)
        self._graph.initializer.append(zero)
        inputs = [self._constant(f"{label}/scale", scale), zero.name]
        rounded, restored = f"{label}/quantised", f"{label}/dequantised"
        self._before.setdefault(place, []).extend(
            (
                helper.make_node("QuantizeLinear", [name, *inputs], [rounded], name=rounded),
                helper.make_node("DequantizeLinear", [rounded, *inputs], [restored], name=restored),
            )
        )
        self._values[key] = restored
        return restored

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def finish(self) -> None:
        nodes = list(self._graph.node)
        ordered: list[onnx.NodeProto] = []
        for place, node in enumerate(nodes):
            ordered += [*self._before.get(place, ()), node]
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in ordered]
        del self._graph.node[:]
        self._graph.node.extend(copies)


def _weight_scales(weights: NDArray[np.float32], axis: int, precision: str) -> NDArray[np.float32]:
    others = tuple(place for place in range(weights.ndim) if place != axis)
    largest: NDArray[np.float32] = np.maximum(np.abs(weights).max(axis=others), np.float32(SMALLEST))
    return np.asarray(largest / np.float32(LEVELS[precision]), np.float32)


def _rounded(values: NDArray[np.floating], precision: str) -> NDArray[np.float32]:
    if precision == "int8":
        return np.asarray(np.clip(np.rint(values), -127, 127), np.float32)
    clipped = np.asarray(np.clip(values, -LEVELS["fp8"], LEVELS["fp8"]), np.float32)
    return np.asarray(clipped.astype(ml_dtypes.float8_e4m3fn), np.float32)


def _tensor(name: str, values: NDArray[np.float32], precision: str) -> TensorProto:
    dtype = np.int8 if precision == "int8" else ml_dtypes.float8_e4m3fn
    raw = np.ascontiguousarray(values.astype(dtype)).tobytes()
    return TensorProto(name=name, data_type=_TYPES[precision], dims=values.shape, raw_data=raw)
