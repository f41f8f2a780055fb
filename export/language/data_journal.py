"""Which tensors of a data file are whole: what a write that was stopped can go on from."""

import json
import zlib
from pathlib import Path
from typing import NamedTuple

CHUNK_BYTES = 1 << 22


class Held(NamedTuple):
    """One tensor in the data file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int  # bytes
    length: int  # bytes
    crc32: int


class DataJournal:
    """One line per tensor, written once its bytes are. Lies beside the data file until that is finished."""

    def __init__(self, data_path: Path) -> None:
        """Reads the journal, if there is one, and compares every tensor's bytes; what follows the first damage is lost."""
        self._path = data_path.with_name(data_path.name + ".journal")
        entries: list[Held] = []
        for line in self._path.read_text(encoding="utf-8").splitlines() if self._path.is_file() else ():
            entry = _entry(line)
            if entry is None:
                break
            while entries and entries[-1].offset >= entry.offset:  # written again
                entries.pop()
            entries.append(entry)
        self._held = {entry.name: entry for entry in _verified(data_path, entries)}
        lines = [json.dumps(entry) for entry in self._held.values()]
        self._path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    @property
    def tensors(self) -> int:
        """How many are held."""
        return len(self._held)

    def held(self, name: str) -> Held | None:
        """The tensor, if its bytes are in the file."""
        return self._held.get(name)

    def forget(self) -> None:
        """From here on the file is written anew."""
        self._held.clear()

    def record(self, entry: Held) -> None:
        """Its bytes have been handed to the system."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def remove(self) -> None:
        """The data file is finished."""
        self._path.unlink(missing_ok=True)


def _entry(line: str) -> Held | None:
    try:
        name, dtype, shape, offset, length, crc32 = json.loads(line)
        return Held(str(name), str(dtype), tuple(map(int, shape)), int(offset), int(length), int(crc32))
    except (ValueError, TypeError):  # the last line of a process that was killed
        return None


def _verified(path: Path, entries: list[Held]) -> list[Held]:
    if not entries or not path.is_file():
        return []
    with path.open("rb") as file:
        for count, entry in enumerate(entries):
            file.seek(entry.offset)
            left, crc = entry.length, 0
            while left and (chunk := file.read(min(CHUNK_BYTES, left))):
                crc, left = zlib.crc32(chunk, crc), left - len(chunk)
            if left or crc != entry.crc32:
                return entries[:count]
    return entries
