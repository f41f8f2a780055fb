"""The embedding table in half precision or 8 bits: rows are gathered on the host and converted there, so that no graph
changes.
"""

from pathlib import Path

from glus_edge.calibration.bundle_files import copied, file_entry
from glus_edge.calibration.recipe import SOURCE
from glus_edge.export.language.token_embedding import SLICE_ROWS, write_table
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.manifest import FileEntry
from glus_edge.runtime.bundle.token_embedding import record_type

HEAD_BYTES = 256  # of a .npy, at the most


def write_embedding(source: Bundle, precision: str, folder: Path) -> FileEntry:
    """Puts the table into `folder`. precision: one of EMBEDDING_PRECISIONS."""
    entry = source.manifest.token_embedding
    if precision == SOURCE:
        copied(source, entry, folder)
        return entry
    table = source.token_embedding()
    rows, width = table.shape
    parts = (table[start : start + SLICE_ROWS] for start in range(0, rows, SLICE_ROWS))
    write_table(folder / entry.file, precision, width, rows, parts)
    return file_entry(folder / entry.file)


def embedding_bytes(source: Bundle, precision: str) -> int:
    """What `write_embedding` puts there, at the most."""
    if precision == SOURCE:
        return source.manifest.token_embedding.size_bytes
    rows, width = source.token_embedding().shape
    return rows * (record_type(width).itemsize if precision == "int8" else 2 * width) + HEAD_BYTES
