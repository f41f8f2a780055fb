"""The embedding table in half precision: rows are gathered on the host and converted there, so nothing else changes."""

from pathlib import Path

import numpy as np

from glus_edge.calibration.bundle_files import copied, file_entry
from glus_edge.calibration.recipe import SOURCE
from glus_edge.runtime.bundle import Bundle
from glus_edge.runtime.manifest import FileEntry

SLICE_ROWS = 4096


def write_embedding(source: Bundle, precision: str, folder: Path) -> FileEntry:
    """Puts the table into `folder`. precision: 'source' or 'fp16'."""
    entry = source.manifest.token_embedding
    if precision == SOURCE:
        copied(source, entry, folder)
        return entry
    table = source.token_embedding()
    stored = np.lib.format.open_memmap(folder / entry.file, "w+", np.dtype(np.float16), tuple(table.shape))
    for start in range(0, len(table), SLICE_ROWS):
        stored[start : start + SLICE_ROWS] = table[start : start + SLICE_ROWS]
    stored.flush()
    return file_entry(folder / entry.file)
