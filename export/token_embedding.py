"""token_embedding.npy: the embedding table, whose rows the runtime gathers from a memory map."""

from pathlib import Path

import numpy as np

from glus_edge.export.checkpoint import Checkpoint
from glus_edge.export.quantise import check_finite

NAME = "model.embed_tokens.weight"
SLICE_ROWS = 4096


def write_token_embedding(checkpoint: Checkpoint, path: Path, compute: str) -> None:
    """Write [vocabulary_size, language_width] in the dtype `compute` ('float32' or 'float16'), row-major.

    Raises CheckpointError where the tensor is missing, not finite, or beyond float16.
    """
    table = checkpoint.tensor(NAME)
    dtype = np.dtype(compute)
    check_finite(NAME, table, dtype)
    stored = np.lib.format.open_memmap(path, "w+", dtype, tuple(table.shape))
    for start in range(0, len(table), SLICE_ROWS):
        stored[start : start + SLICE_ROWS] = table[start : start + SLICE_ROWS].float().numpy()
    stored.flush()
