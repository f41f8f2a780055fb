"""The external data file of a graph and its journal: a write that was stopped goes on behind the last whole group.

A group is what is written or skipped together: a matrix and the scales that belong to it, or one vector.
"""

import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

ALIGNMENT = 4096  # of every tensor: a memory page, so that it can be mapped
CHUNK_BYTES = 1 << 22


class EncodedTensor(NamedTuple):
    """A tensor as it is to be stored, part after part."""

    name: str
    dtype: str  # 'float32', 'float16', 'int8' or 'int4'
    shape: tuple[int, ...]
    parts: Iterator[NDArray[np.generic]]  # row-major; two int4 values are one uint8


class StoredTensor(NamedTuple):
    """Where a tensor lies in the data file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int  # bytes
    length: int  # bytes
    crc32: int


class TensorStore:
    """Groups of tensors in the order they are asked for. Use as a context manager: it owns the open file."""

    def __init__(self, path: Path, key: str) -> None:
        """`path`: the data file; its journal, one line per group, lies beside it until `finish`.

        `key`: how tensors are encoded; what a run with another key has left is written anew.
        """
        self.path = path
        self._key = zlib.crc32(key.encode())
        self._journal = path.with_name(path.name + ".journal")
        self._found: dict[str, list[StoredTensor]] = {}  # groups of an earlier run, whole
        self._file: BinaryIO | None = None

    def __enter__(self) -> "TensorStore":
        self._found = _whole_groups(self.path, _journalled(self._journal, self._key))
        self._journal.write_text("".join(map(self._line, self._found.values())), encoding="utf-8")
        self._file = self.path.open("r+b" if self._found else "wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._file is not None
        self._file.close()

    def put(self, group: str, encode: Callable[[], Sequence[EncodedTensor]]) -> list[StoredTensor]:
        """The tensors of a group. `encode` is not asked for those that the file holds from an earlier run."""
        assert self._file is not None, "tensors are written inside the with block"
        if (found := self._found.get(group)) is not None:
            self._file.seek(found[-1].offset + found[-1].length)
            return found
        self._found.clear()  # from here on the file is written anew
        stored = [self._write(tensor) for tensor in encode()]
        self._file.flush()
        with self._journal.open("a", encoding="utf-8") as journal:
            journal.write(self._line(stored))
        return stored

    def finish(self) -> None:
        """The file ends here; the last thing to call."""
        assert self._file is not None
        self._file.flush()
        self._file.truncate()
        self._journal.unlink(missing_ok=True)

    def _line(self, group: Sequence[StoredTensor]) -> str:
        return json.dumps([self._key, group]) + "\n"

    def _write(self, tensor: EncodedTensor) -> StoredTensor:
        assert self._file is not None
        self._file.write(bytes(-self._file.tell() % ALIGNMENT))
        offset, crc = self._file.tell(), 0
        for part in tensor.parts:
            data = np.ascontiguousarray(part).reshape(-1).view(np.uint8)
            self._file.write(data.data)
            crc = zlib.crc32(data.data, crc)
        return StoredTensor(tensor.name, tensor.dtype, tensor.shape, offset, self._file.tell() - offset, crc)


def _journalled(path: Path, key: int) -> list[list[StoredTensor]]:
    """The groups of a journal in the order of the file, up to its first line that cannot be read."""
    groups: list[list[StoredTensor]] = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            written_with, tensors = json.loads(line)
            group = [_stored_tensor(*fields) for fields in tensors]
        except (ValueError, TypeError):  # the last line of a process that was killed
            break
        if written_with != key or not group:
            break
        while groups and groups[-1][0].offset >= group[0].offset:  # written again
            groups.pop()
        groups.append(group)
    return groups


def _stored_tensor(name: Any, dtype: Any, shape: Any, offset: Any, length: Any, crc32: Any) -> StoredTensor:
    return StoredTensor(str(name), str(dtype), tuple(map(int, shape)), int(offset), int(length), int(crc32))


def _whole_groups(path: Path, groups: list[list[StoredTensor]]) -> dict[str, list[StoredTensor]]:
    """Those whose bytes the file holds, by the name of their first tensor; what follows the first damage is lost."""
    whole: dict[str, list[StoredTensor]] = {}
    if groups and path.is_file():
        with path.open("rb") as file:
            for group in groups:
                if not all(_crc32(file, tensor) == tensor.crc32 for tensor in group):
                    break
                whole[group[0].name] = group
    return whole


def _crc32(file: BinaryIO, tensor: StoredTensor) -> int | None:
    """Of a tensor's bytes as the file holds them; None where it ends before they do."""
    file.seek(tensor.offset)
    left, crc = tensor.length, 0
    while left and (chunk := file.read(min(CHUNK_BYTES, left))):
        crc, left = zlib.crc32(chunk, crc), left - len(chunk)
    return None if left else crc
