"""The pixels of both image towers as ONNX graphs: a resize is two matrix products, so that an engine can make them.

The graphs do not depend on the checkpoint. They are written here because a device that builds engines need not
have the `onnx` package.
"""

import numpy as np

from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.signatures import Axis, GraphSignature, Limits, ModelDimensions, TensorSignature
from glus_edge.runtime.onnx_rewrite.graph_builder import GraphBuilder
from glus_edge.runtime.pixels.resize_weights import DIGIT_BITS

PREPROCESS_GRAPHS = ("clip_preprocess", "sam_preprocess")
SMALLEST_SIDE = 16  # pixels of a frame that is preprocessed on the device, either way


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
    graph = GraphBuilder()
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
    return graph.model(name, signature.inputs, signature.outputs)


def _normalised(graph: GraphBuilder, planes: str) -> str:
    """(x / 255 - mean) / std, each step rounded as the host's is."""
    scaled = graph.add("Div", [planes, graph.constant(np.float32(255))])
    return graph.add("Div", [graph.add("Sub", [scaled, "mean"]), "std"])


def _bytes_from_sums(graph: GraphBuilder, sums: str) -> str:
    """Bytes from the three digits' sums [3, ...]: (sum + 2^21) >> 22, clamped, every step exact in float32."""
    base = graph.constant(np.float32(1 << DIGIT_BITS))
    digits = [graph.add("Gather", [sums, graph.constant(np.int64(digit))], axis=0) for digit in range(3)]
    total = digits[0]
    for digit in digits[1:]:
        total = graph.add("Add", [digit, graph.add("Floor", [graph.add("Div", [total, base])])])
    half, rest = graph.constant(np.float32(1 << 5)), graph.constant(np.float32(1 << 6))  # 2^21 and 2^22 over 2^16
    rounded = graph.add("Floor", [graph.add("Div", [graph.add("Add", [total, half]), rest])])
    return graph.add("Clip", [rounded, graph.constant(np.float32(0)), graph.constant(np.float32(255))])
