"""A matrix of the checkpoint as graphs store it: turned round, plain or quantised, slice by slice."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from glus_edge.export.checkpoint.finite import check_finite
from glus_edge.export.language.quantise import (
    Int4Blocks,
    int4_block_size,
    int4_from_weights,
    int8_from_weights,
    int8_scales,
)
from glus_edge.export.language.tensor_store import EncodedTensor
from glus_edge.runtime.bundle.precisions import DTYPES

SLICE_BYTES = 64 * 1024 * 1024  # of float32 weights worked on at a time

# Where an int4 matrix's blocks come from: its name, its weight [N, K], rows of a block, dtype of the scales -> the blocks
# from the first row to the last.
BlockSource = Callable[[str, torch.Tensor, int, "np.dtype[np.floating]"], Iterator[Int4Blocks]]


def rounded_blocks(name: str, weight: torch.Tensor, block: int, dtype: "np.dtype[np.floating]") -> Iterator[Int4Blocks]:
    """The weight itself, each value rounded to the nearest. CheckpointError: it is not finite."""
    check_finite(name, weight, dtype)
    for part in _slices(weight, block):
        yield int4_from_weights(part, block, dtype)


def encode_matrix(
    name: str, weight: torch.Tensor, storage: str, compute: str, blocks: BlockSource = rounded_blocks
) -> list[EncodedTensor]:
    """A weight [N, K] as [K, N], and its scales where it is quantised. Values are made when the parts are asked for.

    storage: 'fp32', 'fp16', 'int8' or 'int4'. compute: dtype of the scales. `blocks` is asked for what int4 holds.
    Raises CheckpointError for a weight that is not finite or that the storage cannot hold.
    """
    columns, rows = weight.shape
    scale_dtype = np.dtype(compute)
    if storage == "int4":
        return _int4(name, weight, scale_dtype, blocks)
    dtype = DTYPES.get(storage, compute)
    check_finite(name, weight, np.dtype(dtype))
    if storage == "int8":
        scales = int8_scales(weight, scale_dtype)
        return [
            EncodedTensor(name, "int8", (rows, columns), (int8_from_weights(part, scales) for part in _slices(weight))),
            EncodedTensor(f"{name}.scale", compute, (columns,), iter([scales])),
        ]
    return [EncodedTensor(name, dtype, (rows, columns), (part.numpy().astype(dtype) for part in _slices(weight)))]


def _int4(name: str, weight: torch.Tensor, dtype: "np.dtype[np.floating]", source: BlockSource) -> list[EncodedTensor]:
    columns, rows = weight.shape
    block = int4_block_size(name, rows)
    scales: list[NDArray[np.floating]] = []  # filled while the blocks are written, which is before they are

    def packed() -> Iterator[NDArray[np.uint8]]:
        for blocks in source(name, weight, block, dtype):
            scales.append(blocks.scales)
            yield blocks.packed

    return [
        EncodedTensor(name, "int4", (rows, columns), packed()),
        EncodedTensor(f"{name}.scale", str(dtype), (rows // block, columns), iter(scales)),
    ]


def _slices(weight: torch.Tensor, block: int = 1) -> Iterator[torch.Tensor]:
    """Slices [k, N] float32, contiguous, of a weight [N, K]; k is a multiple of `block`."""
    columns, rows = weight.shape
    step = max(1, SLICE_BYTES // (4 * columns * block)) * block
    for start in range(0, rows, step):
        yield weight[:, start : start + step].float().T.contiguous()
