"""What products of large matrices reach in ONNX Runtime on this machine, by the type of what is multiplied.

The bounds of a language step: 'int8' is MatMulInteger, 8 bits by 8 bits with nothing to scale, the most integer arithmetic
this machine gave here; 'int4' is the product the step is made of, 4-bit weights in blocks of 128 and activations rounded to 8
bits (MatMulNBits at accuracy level 4), at a size where nothing but the product costs; 'float32' is the plain one.
"""

import math
import time

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from glus_edge.export.language.graph_writer import IR_VERSION, OPSET
from glus_edge.export.language.quantise import LARGEST_BLOCK
from glus_edge.runtime.backends.onnxruntime_session import OnnxRuntimeOptions, session_settings

KINDS = ("int8", "int4", "float32")
ROWS, SIDE = 1024, 4096
CALLS = 3  # of a turn, the best of which counts


class Product:
    """One product [ROWS, SIDE] x [SIDE, SIDE] of random values, weights packed when it is opened. Implements Runner."""

    def __init__(self, kind: str, threads: int, rows: int = ROWS, side: int = SIDE) -> None:
        """`kind`: one of KINDS."""
        self.flops = 2 * rows * side * side
        settings = session_settings(OnnxRuntimeOptions(threads=threads), accuracy=4)
        model = product_model(kind, rows, side)
        self._session = onnxruntime.InferenceSession(model.SerializeToString(), settings, ["CPUExecutionProvider"])
        values = np.random.default_rng(1).standard_normal((rows, side), np.float32)
        integers = (values * 32 + 128).clip(0, 255).astype(np.uint8)
        self._binding = self._session.io_binding()
        self._binding.bind_cpu_input("values", integers if kind == "int8" else values)
        self._binding.bind_output("products", "cpu")

    def seconds(self) -> float:
        """See Runner: the best of CALLS."""
        return min(self._once() for _ in range(CALLS))

    def close(self) -> None:
        """See Runner."""
        del self._binding, self._session

    def _once(self) -> float:
        start = time.perf_counter()
        self._session.run_with_iobinding(self._binding)
        return time.perf_counter() - start


def product_model(kind: str, rows: int, side: int) -> onnx.ModelProto:
    """The graph of one product, its weights drawn at random."""
    generator = np.random.default_rng(0)
    nodes = []
    if kind == "float32":
        drawn = generator.standard_normal((side, side), np.float32)
        weights = [_constant("weights", TensorProto.FLOAT, drawn)]
        nodes.append(helper.make_node("MatMul", ["values", "weights"], ["products"]))
    elif kind == "int8":
        whole = generator.integers(-127, 128, (side, side), np.int8)
        weights = [_constant("weights", TensorProto.INT8, whole)]
        nodes.append(helper.make_node("MatMulInteger", ["values", "weights"], ["products"]))
    else:
        pairs = generator.integers(0, 256, side * side // 2, np.uint8)
        scales = np.full((side // LARGEST_BLOCK, side), 1 / math.sqrt(side), np.float32)
        weights = [
            TensorProto(name="weights", data_type=TensorProto.INT4, dims=(side, side), raw_data=pairs.tobytes()),
            _constant("scales", TensorProto.FLOAT, scales),
        ]
        nodes.append(
            helper.make_node("DequantizeLinear", ["weights", "scales"], ["restored"], axis=0, block_size=LARGEST_BLOCK)
        )
        nodes.append(helper.make_node("MatMul", ["values", "restored"], ["products"]))
    source, result = (TensorProto.UINT8, TensorProto.INT32) if kind == "int8" else (TensorProto.FLOAT,) * 2
    graph = helper.make_graph(
        nodes,
        f"product_{kind}",
        [helper.make_tensor_value_info("values", source, [rows, side])],
        [helper.make_tensor_value_info("products", result, [rows, side])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def _constant(name: str, kind: int, values: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]") -> TensorProto:
    return TensorProto(name=name, data_type=kind, dims=values.shape, raw_data=values.tobytes())
