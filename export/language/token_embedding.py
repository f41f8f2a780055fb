"""Writes token_embedding.npy, the embedding table, whose rows the runtime gathers from a memory map."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glus_edge.export.checkpoint.checkpoint import Checkpoint
from glus_edge.export.checkpoint.finite import check_finite
from glus_edge.export.language.quantise import INT8_MAXIMUM
from glus_edge.runtime.bundle.token_embedding import SCALE, VALUES, record_type

NAME = "model.embed_tokens.weight"
SLICE_ROWS = 4096


def write_token_embedding(checkpoint: Checkpoint, path: Path, storage: str) -> None:
    """Write the checkpoint's table; see `write_table`.

    Raises CheckpointError where the tensor is missing, not finite, or beyond float16 where that is asked for.
    """
    table = checkpoint.tensor(NAME)
    check_finite(NAME, table, np.dtype("float16" if storage == "fp16" else "float32"))
    rows, width = table.shape
    parts = (table[start : start + SLICE_ROWS].float().numpy() for start in range(0, rows, SLICE_ROWS))
    write_table(path, storage, width, rows, parts)


def write_table(path: Path, storage: str, width: int, rows: int, parts: Iterator[NDArray[np.floating]]) -> None:
    """Write `path` from its rows [n, width], part after part. storage: one of EMBEDDINGS.

    int8 is rounded to nearest against each row's largest magnitude; see glus_edge.runtime.bundle.token_embedding.
    """
    dtype = record_type(width) if storage == "int8" else np.dtype(f"float{storage[2:]}")
    shape = (rows,) if storage == "int8" else (rows, width)
    head = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    # Not through a memory map: on a full disk that ends the process with a signal where a write is an error.
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, head)
        for part in parts:
            file.write((_records(part, dtype) if storage == "int8" else part.astype(dtype)).tobytes())


def _records(part: NDArray[np.floating], dtype: "np.dtype[np.void]") -> NDArray[np.void]:
    largest = np.abs(part).max(axis=1).astype(np.float32)
    scales = np.maximum(largest / INT8_MAXIMUM, np.finfo(np.float32).tiny)
    records = np.empty(len(part), dtype)
    records[SCALE] = scales
    records[VALUES] = np.rint(part / scales[:, None])
    return records
