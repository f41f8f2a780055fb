"""The pixels of both image towers as ONNX graphs: a resize is two matrix products, so that an engine can make them.

The graphs do not depend on the checkpoint. They are written here, as protocol buffers, because a device that builds
engines need not have the `onnx` package.
"""

import numpy as np
from numpy.typing import NDArray

from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.signatures import Axis, GraphSignature, Limits, ModelDimensions, TensorSignature
from glus_edge.runtime.onnx_rewrite.protobuf import BYTES, VARINT, Field, Message, serialise, string
from glus_edge.runtime.pixels.resize_weights import DIGIT_BITS

PREPROCESS_GRAPHS = ("clip_preprocess", "sam_preprocess")
SMALLEST_SIDE = 16  # pixels of a frame that is preprocessed on the device, either way
_OPSET, _IR_VERSION = 18, 10
_TYPES = {"float32": 1, "uint8": 2, "int64": 7}
_INT, _INTS = 2, 7  # AttributeProto.AttributeType


def preprocess_signatures(model: ModelDimensions, limits: Limits) -> dict[str, GraphSignature]:
    """The tensors of both graphs. Weights and normalisation are inputs: one engine serves every size of frame."""
    side = limits.frame_side
    axes = {"height": Axis(SMALLEST_SIDE, min(720, side), side), "width": Axis(SMALLEST_SIDE, min(1280, side), side)}
    common = (
        TensorSignature("rgb", "uint8", ("height", "width", 3)),
        TensorSignature("mean", "float32", (3, 1, 1)),
        TensorSignature("std", "float32", (3, 1, 1)),
    )
    clip, sam = model.clip_size, model.image_size
    return {
        "clip_preprocess": GraphSignature(
            (
                *common,
                TensorSignature("rows", "float32", (3, 1, clip, "height")),  # digits of the weights, lowest first
                TensorSignature("columns", "float32", (3, 1, "width", clip)),
            ),
            (TensorSignature("clip_pixels", "float32", (1, 3, clip, clip)),),
            axes,
        ),
        "sam_preprocess": GraphSignature(
            (
                *common,
                TensorSignature("rows", "float32", (sam, "height")),
                TensorSignature("columns", "float32", ("width", sam)),
            ),
            (TensorSignature("sam_pixels", "float32", (1, 3, sam, sam)),),
            axes,
        ),
    }


def graph_signature(bundle: Bundle, graph: str, limits: Limits | None = None) -> GraphSignature:
    """The tensors of a graph of the bundle or of a preprocessing graph for its sizes."""
    if graph in PREPROCESS_GRAPHS:
        return preprocess_signatures(bundle.manifest.model, limits or Limits())[graph]
    return bundle.signature(graph, limits)


def preprocess_graph(name: str, signature: GraphSignature) -> bytes:
    """The ONNX model of 'clip_preprocess' or 'sam_preprocess'."""
    graph = _Graph()
    planes = graph.add("Transpose", [graph.add("Cast", ["rgb"], to=1)], perm=(2, 0, 1))  # [3, H, W]
    if name == "sam_preprocess":
        resized = graph.add("MatMul", ["rows", graph.add("MatMul", [_normalised(graph, planes), "columns"])])
    else:
        # as Pillow: across first, rounded to bytes, then down, rounded again
        across = _bytes_from_sums(graph, graph.add("MatMul", [planes, "columns"]))  # columns [3 digits, 1, W, S]
        down = _bytes_from_sums(graph, graph.add("MatMul", ["rows", across]))
        resized = _normalised(graph, down)
    shape = graph.constant(np.array(signature.outputs[0].shape, np.int64))
    graph.add("Reshape", [resized, shape], output=signature.outputs[0].name)
    return graph.model(name, signature)


def _normalised(graph: "_Graph", planes: str) -> str:
    """(x / 255 - mean) / std, each step rounded as the host's is."""
    scaled = graph.add("Div", [planes, graph.constant(np.float32(255))])
    return graph.add("Div", [graph.add("Sub", [scaled, "mean"]), "std"])


def _bytes_from_sums(graph: "_Graph", sums: str) -> str:
    """Bytes from the three digits' sums [3, ...]: (sum + 2^21) >> 22, clamped, every step exact in float32."""
    base = graph.constant(np.float32(1 << DIGIT_BITS))
    digits = [graph.add("Gather", [sums, graph.constant(np.int64(digit))], axis=0) for digit in range(3)]
    total = digits[0]
    for digit in digits[1:]:
        total = graph.add("Add", [digit, graph.add("Floor", [graph.add("Div", [total, base])])])
    half, rest = graph.constant(np.float32(1 << 5)), graph.constant(np.float32(1 << 6))  # 2^21 and 2^22 over 2^16
    rounded = graph.add("Floor", [graph.add("Div", [graph.add("Add", [total, half]), rest])])
    return graph.add("Clip", [rounded, graph.constant(np.float32(0)), graph.constant(np.float32(255))])


class _Graph:
    """Nodes and constants of a graph being written. Field numbers are those of onnx.proto3."""

    def __init__(self) -> None:
        self._fields: Message = []
        self._count = 0

    def add(self, kind: str, inputs: list[str], output: str = "", **attributes: int | tuple[int, ...]) -> str:
        """A node; returns the name of its output."""
        self._count += 1
        output = output or f"{kind}_{self._count}"
        node = [string(1, name) for name in inputs]
        node += [string(2, output), string(3, f"{self._count:04d}_{kind}"), string(4, kind)]
        for name, value in attributes.items():
            if isinstance(value, int):
                attribute = [string(1, name), Field(3, VARINT, value), Field(20, VARINT, _INT)]
            else:
                attribute = [string(1, name), *(Field(8, VARINT, item) for item in value), Field(20, VARINT, _INTS)]
            node.append(Field(5, BYTES, serialise(attribute)))
        self._fields.append(Field(1, BYTES, serialise(node)))
        return output

    def constant(self, value: NDArray[np.int64] | np.float32 | np.int64) -> str:
        """An initializer; returns its name."""
        self._count += 1
        array, name = np.asarray(value), f"constant_{self._count}"
        tensor = [Field(1, VARINT, size) for size in array.shape]
        tensor += [Field(2, VARINT, _TYPES[array.dtype.name]), string(8, name), Field(9, BYTES, array.tobytes())]
        self._fields.append(Field(5, BYTES, serialise(tensor)))
        return name

    def model(self, name: str, signature: GraphSignature) -> bytes:
        """The whole model."""
        fields = [*self._fields, string(2, name)]
        fields += [Field(11, BYTES, _value(tensor)) for tensor in signature.inputs]
        fields += [Field(12, BYTES, _value(tensor)) for tensor in signature.outputs]
        opset = serialise([Field(2, VARINT, _OPSET)])
        return serialise(
            [
                Field(1, VARINT, _IR_VERSION),
                string(2, "glus-edge"),
                Field(7, BYTES, serialise(fields)),
                Field(8, BYTES, opset),
            ]
        )


def _value(tensor: TensorSignature) -> bytes:
    """A ValueInfoProto."""
    sizes = [string(2, size) if isinstance(size, str) else Field(1, VARINT, size) for size in tensor.shape]
    shape = serialise([Field(1, BYTES, serialise([size])) for size in sizes])
    kind = serialise([Field(1, VARINT, _TYPES[tensor.dtype]), Field(2, BYTES, shape)])
    return serialise([string(1, tensor.name), Field(2, BYTES, serialise([Field(1, BYTES, kind)]))])
