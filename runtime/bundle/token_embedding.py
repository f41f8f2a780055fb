"""The embedding table of a bundle, memory-mapped: a prompt's rows are gathered on the host.

A .npy of [vocabulary_size, language_width] float32 or float16; or, in int8, of vocabulary_size records, each a row's scale
and its values, so that gathering a row touches one place of the file.
"""

from pathlib import Path
from tokenize import TokenError  # headers are parsed as Python
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glus_edge.runtime.bundle.precisions import INT8, precision_of
from glus_edge.runtime.errors import BundleError

SCALE, VALUES = "scale", "values"  # fields of a record


def record_type(width: int) -> "np.dtype[np.void]":
    """What a row of an int8 table is: float32 and int8 [width]; the row is scale * values."""
    return np.dtype([(SCALE, "<f4"), (VALUES, "i1", (width,))])


class TokenEmbedding:
    """The table; indexing gathers rows."""

    def __init__(self, stored: NDArray[Any], width: int) -> None:
        """`stored`: as the file holds it."""
        self._stored = stored
        self.shape = (len(stored), width)
        self.precision = INT8 if stored.dtype.names else precision_of(stored.dtype.name)

    @classmethod
    def open(cls, path: Path, vocabulary_size: int, width: int) -> "TokenEmbedding":
        """Maps the file. BundleError: it is no table, or one of another size."""
        try:
            stored: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
        except (ValueError, OverflowError, RecursionError, TokenError) as error:
            raise BundleError(f"{path}: got {error}, expected a .npy table; export the bundle again") from error
        whole = stored.dtype in (np.float32, np.float16) and stored.shape == (vocabulary_size, width)
        rounded = stored.dtype == record_type(width) and stored.shape == (vocabulary_size,)
        if not (whole or rounded):
            raise BundleError(
                f"{path}: got {stored.dtype} {list(stored.shape)}, expected float or int8 {[vocabulary_size, width]}; "
                "export again"
            )
        return cls(stored, width)

    def __len__(self) -> int:
        return len(self._stored)

    def __getitem__(self, rows: NDArray[np.integer[Any]] | slice) -> NDArray[Any]:
        """[..., width] float32, float16 where the table is."""
        found = self._stored[rows]
        if self.precision != INT8:
            return np.asarray(found)
        values: NDArray[Any] = found[VALUES] * found[SCALE][..., None]
        return values
