"""Writes an ONNX graph node by node, its weights straight into one external data file, one tensor at a time.

A writer that was stopped leaves its data file and a journal of it: the next one in the same place goes on behind the last
tensor that is whole.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

from glus_edge.export.language.data_journal import DataJournal, Held
from glus_edge.export.language.quantise import (
    Int4Blocks,
    check_finite,
    int4_block_size,
    int4_from_weights,
    int8_from_weights,
    int8_scales,
)
from glus_edge.runtime.bundle.precisions import DTYPES
from glus_edge.runtime.bundle.signatures import GraphSignature, TensorSignature

OPSET = 21  # the first with INT4 and blocked DequantizeLinear
IR_VERSION = 10
ALIGNMENT = 4096  # of every tensor in the data file: a memory page, so that it can be mapped
SLICE_BYTES = 64 * 1024 * 1024  # of float32 weights worked on at a time
ELEMENT_TYPES = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "int8": TensorProto.INT8,
}
# Where an int4 matrix's blocks come from: its name, its weight [N, K], rows of a block, dtype of the scales -> the blocks
# from the first row to the last.
BlockSource = Callable[[str, torch.Tensor, int, "np.dtype[np.floating]"], Iterator[Int4Blocks]]


def rounded_blocks(name: str, weight: torch.Tensor, block: int, dtype: "np.dtype[np.floating]") -> Iterator[Int4Blocks]:
    """The weight itself, each value rounded to the nearest. CheckpointError: it is not finite."""
    check_finite(name, weight, dtype)
    for part in _slices(weight, block):
        yield int4_from_weights(part, block, dtype)


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
        self._data_path = path.with_name(path.name + ".data")
        self._dtype = np.dtype(compute)
        self._weights = weights
        self._exceptions = matrices or {}
        self._blocks = blocks
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, TensorProto] = {}
        self._file: BinaryIO | None = None

    def __enter__(self) -> "GraphWriter":
        self._journal = DataJournal(self._data_path)
        self._file = self._data_path.open("r+b" if self._journal.tensors else "wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._file is not None
        self._file.close()

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
        check_finite(name, tensor, np.dtype(dtype))
        return self._stored(name, dtype, tensor.shape, iter([tensor.float().numpy().astype(dtype)]))

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
        dtype = DTYPES.get(storage, self.compute)
        held = self._held(weight_name, storage)
        if held is None:
            weight = weight if isinstance(weight, torch.Tensor) else weight()
            if storage != "int4":
                check_finite(weight_name, weight, np.dtype(dtype))
        else:
            weight = torch.empty(held.shape[::-1], device="meta")
        columns, rows = weight.shape
        if storage == "int4":
            matrix = self._int4(weight_name, weight, name)
        elif storage == "int8":
            scales = int8_scales(weight, self._dtype) if held is None else np.empty(0, self._dtype)
            slices = (int8_from_weights(part, scales) for part in _slices(weight, 1))
            quantised = self._stored(weight_name, "int8", (rows, columns), slices)
            inputs = [quantised, self._stored(f"{weight_name}.scale", self.compute, (columns,), iter([scales]))]
            matrix = self.node("DequantizeLinear", inputs, f"{name}/dequantise", axis=1)
        else:
            parts = (part.numpy().astype(dtype) for part in _slices(weight, 1))
            matrix = self._stored(weight_name, dtype, (rows, columns), parts)
            if dtype != self.compute:
                matrix = self.node("Cast", [matrix], f"{name}/weight", to=ELEMENT_TYPES[self.compute])
        return self.node("MatMul", [value, matrix], name)

    def save(self, name: str, signature: GraphSignature, metadata: dict[str, str]) -> None:
        """Write the .onnx with the inputs and outputs of `signature`; the last thing to call."""
        assert self._file is not None
        self._file.flush()
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
        self._file.truncate()
        self._journal.remove()

    def _held(self, weight_name: str, storage: str) -> Held | None:
        """The matrix, if the file holds it and the scales that belong to it."""
        names = [weight_name] + [f"{weight_name}.scale"] * (storage in ("int4", "int8"))
        if all(self._journal.held(name) for name in names):
            return self._journal.held(weight_name)
        self._journal.forget()
        return None

    def _int4(self, weight_name: str, weight: torch.Tensor, name: str) -> str:
        columns, rows = weight.shape
        block = self.block_sizes[weight_name] = int4_block_size(weight_name, rows)
        scales: list[NDArray[np.floating]] = []

        def packed() -> Iterator[NDArray[np.uint8]]:
            for blocks in self._blocks(weight_name, weight, block, self._dtype):
                scales.append(blocks.scales)
                yield blocks.packed

        quantised = self._stored(weight_name, "int4", (rows, columns), packed())
        scale = self._stored(f"{weight_name}.scale", self.compute, (rows // block, columns), iter(scales))
        return self.node("DequantizeLinear", [quantised, scale], f"{name}/dequantise", axis=0, block_size=block)

    def _stored(self, name: str, dtype: str, shape: Sequence[int], parts: Iterator[NDArray[np.generic]]) -> str:
        assert self._file is not None, "weights are written inside the with block"
        assert name not in self._initializers, name
        held = self._journal.held(name)
        if held is not None and (held.dtype, held.shape) == (dtype, tuple(shape)):
            offset, length = held.offset, held.length
            self._file.seek(offset + length)
        else:
            self._journal.forget()
            self._file.write(bytes(-self._file.tell() % ALIGNMENT))
            offset, crc = self._file.tell(), 0
            for part in parts:
                data = np.ascontiguousarray(part).reshape(-1).view(np.uint8)
                self._file.write(data.data)
                crc = zlib.crc32(data.data, crc)
            length = self._file.tell() - offset
            self._file.flush()
            self._journal.record(Held(name, dtype, tuple(shape), offset, length, crc))
        tensor = TensorProto(name=name, data_type=ELEMENT_TYPES.get(dtype, TensorProto.INT4), dims=shape)
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (
            ("location", self._data_path.name),
            ("offset", offset),
            ("length", length),
        ):
            tensor.external_data.add(key=key, value=str(value))
        self._initializers[name] = tensor
        return name


def _slices(weight: torch.Tensor, block: int) -> Iterator[torch.Tensor]:
    """Slices [k, N] float32, contiguous, of a weight [N, K]; k is a multiple of `block`."""
    columns, rows = weight.shape
    step = max(1, SLICE_BYTES // (4 * columns * block)) * block
    for start in range(0, rows, step):
        yield weight[:, start : start + step].float().T.contiguous()


def _value_info(tensor: TensorSignature) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(tensor.name, ELEMENT_TYPES[tensor.dtype], tensor.shape)
