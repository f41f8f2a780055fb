"""Writes an ONNX graph node by node, its weights straight into one external data file, one tensor at a time.

Which tensors an earlier, stopped run has written already is the store's business: see `tensor_store`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

from glus_edge.export.checkpoint.finite import check_finite
from glus_edge.export.language.matrix_encoding import BlockSource, encode_matrix, rounded_blocks
from glus_edge.export.language.tensor_store import EncodedTensor, StoredTensor, TensorStore
from glus_edge.runtime.bundle.signatures import GraphSignature, TensorSignature

OPSET = 21  # the first with INT4 and blocked DequantizeLinear
IR_VERSION = 10
ELEMENT_TYPES = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "int8": TensorProto.INT8,
    "int4": TensorProto.INT4,
}


class GraphWriter:
    """A graph under construction. Use as a context manager: it owns the open data file."""

    def __init__(
        self,
        path: Path,
        compute: str,
        weights: str,
        matrices: Mapping[str, str] | None = None,
        blocks: BlockSource = rounded_blocks,
    ) -> None:
        """`path` is the .onnx; weights go to `path` + '.data'. compute: 'float32' or 'float16'.

        weights: 'fp32', 'fp16', 'int8' or 'int4', the storage of the matrices given to `linear`; `matrices` names those
        that are stored otherwise. `blocks` is asked for what int4 matrices hold.
        """
        self.compute = compute
        self.block_sizes: dict[str, int] = {}  # of every int4 matrix, by tensor name
        self._path = path
        self._weights = weights
        self._exceptions = dict(matrices or {})
        self._blocks = blocks
        encoding = json.dumps([compute, weights, self._exceptions])
        self._store = TensorStore(path.with_name(path.name + ".data"), encoding)
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, TensorProto] = {}

    def __enter__(self) -> "GraphWriter":
        self._store.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._store.__exit__(kind, error, trace)

    def node(self, op: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Append a node with one output, named as the node; return that name."""
        self._nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def split(self, value: str, names: Sequence[str], axis: int) -> tuple[str, ...]:
        """Append a Split of `value` into equal parts of these names."""
        self._nodes.append(helper.make_node("Split", [value], names, name=names[0], axis=axis, num_outputs=len(names)))
        return tuple(names)

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        """A small constant kept inside the .onnx; the same name twice is the same constant."""
        if name not in self._initializers:
            tensor = TensorProto(name=name, data_type=ELEMENT_TYPES[str(value.dtype)], dims=value.shape)
            tensor.raw_data = np.ascontiguousarray(value).tobytes()
            self._initializers[name] = tensor
        return name

    def int64(self, *values: int) -> str:
        """An int64 vector, as shapes and axes are given."""
        return self.constant("whole_" + "_".join(map(str, values)), np.array(values, np.int64))

    def vector(self, name: str, tensor: torch.Tensor, dtype: str) -> str:
        """A vector of the checkpoint (a norm's weight, a bias) stored in `dtype`."""

        def encode() -> list[EncodedTensor]:
            check_finite(name, tensor, np.dtype(dtype))
            return [EncodedTensor(name, dtype, tuple(tensor.shape), iter([tensor.float().numpy().astype(dtype)]))]

        (stored,) = self._store.put(name, encode)
        return self._external(stored)

    def linear(
        self,
        value: str,
        weight_name: str,
        weight: torch.Tensor | Callable[[], torch.Tensor],
        name: str,
        plain: bool = False,
    ) -> str:
        """value [..., K] times the transpose of `weight` [N, K] as the checkpoint stores it: [..., N] in compute dtype.

        Stored [K, N], quantised as this graph's weights are unless `plain`. A function that gives the weight is not asked
        where the file holds it already. Raises CheckpointError for a weight that is not finite or that the storage cannot
        hold.
        """
        storage = "plain" if plain else self._exceptions.get(weight_name, self._weights)

        def encode() -> list[EncodedTensor]:
            read = weight if isinstance(weight, torch.Tensor) else weight()
            return encode_matrix(weight_name, read, storage, self.compute, self._blocks)

        stored = self._store.put(weight_name, encode)
        matrix, *scale = [self._external(tensor) for tensor in stored]
        if storage == "int4":
            block = self.block_sizes[weight_name] = stored[0].shape[0] // stored[1].shape[0]
            matrix = self.node("DequantizeLinear", [matrix, *scale], f"{name}/dequantise", axis=0, block_size=block)
        elif storage == "int8":
            matrix = self.node("DequantizeLinear", [matrix, *scale], f"{name}/dequantise", axis=1)
        elif stored[0].dtype != self.compute:
            matrix = self.node("Cast", [matrix], f"{name}/weight", to=ELEMENT_TYPES[self.compute])
        return self.node("MatMul", [value, matrix], name)

    def save(self, name: str, signature: GraphSignature, metadata: dict[str, str]) -> None:
        """Write the .onnx with the inputs and outputs of `signature`; the last thing to call."""
        graph = helper.make_graph(
            self._nodes,
            name,
            [_value_info(tensor) for tensor in signature.inputs],
            [_value_info(tensor) for tensor in signature.outputs],
            list(self._initializers.values()),
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="glus-edge"
        )
        helper.set_model_props(model, metadata)
        self._path.write_bytes(model.SerializeToString())
        self._store.finish()

    def _external(self, stored: StoredTensor) -> str:
        """Append an initializer whose values lie in the data file; return its name."""
        assert stored.name not in self._initializers, stored.name
        tensor = TensorProto(name=stored.name, data_type=ELEMENT_TYPES[stored.dtype], dims=stored.shape)
        tensor.data_location = TensorProto.EXTERNAL
        places = {"location": self._store.path.name, "offset": stored.offset, "length": stored.length}
        for key, value in places.items():
            tensor.external_data.add(key=key, value=str(value))
        self._initializers[stored.name] = tensor
        return stored.name


def _value_info(tensor: TensorSignature) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(tensor.name, ELEMENT_TYPES[tensor.dtype], tensor.shape)
