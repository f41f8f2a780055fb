"""Journals in JSON Lines (https://jsonlines.org): work that was stopped goes on where it stood.

A journal's first line is its header: all that the records depend on. Records are appended and each is on the disk before
`append` returns, so a process that dies loses at most the record it was writing. That last, torn line is cut off when the
journal is opened again.
"""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from glus_edge.runtime.errors import InputError, OutputError

Record = dict[str, Any]


class JournalContent(NamedTuple):
    """What a file held when it was opened."""

    header: Record
    records: list[Record]


def open_journal(path: Path, header: Record) -> JournalContent:
    """Reads a journal and makes it ready for `append`; writes one with this header where there is none, or an empty file.

    The header that comes back is the file's own: whether a different one is an error is the caller's to say.
    InputError: the file cannot be read, or a whole line of it is no JSON object. OutputError: it cannot be written.
    """
    try:
        content = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), expected a journal or a free name") from error
    whole = content[: content.rfind(b"\n") + 1]
    lines = [_record(path, number, line) for number, line in enumerate(whole.split(b"\n")[:-1], 1)]
    if not lines:
        if content and not _starts(content, header):
            raise InputError(f"{path}: got a file without a whole line, expected a journal or a free name")
        _cut(path, 0)
        append(path, header)
        return JournalContent(header, [])
    if len(whole) < len(content):
        _cut(path, len(whole))
    return JournalContent(lines[0], lines[1:])


def append(path: Path, record: Record) -> None:
    """Adds one line and waits until it is on the disk. OutputError: the disk is full or the file cannot be written.

    What a failed write has left behind is cut off again, so that the next record starts on a line of its own.
    ValueError: a value that is no JSON, such as an infinity.
    """
    line = json.dumps(record, allow_nan=False).encode() + b"\n"
    try:
        with path.open("ab", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            try:
                written = file.write(line)
                if written < len(line):
                    raise OSError(f"wrote {written} of {len(line)} bytes")
                os.fsync(file.fileno())
            except OSError:
                with suppress(OSError):  # the first error is the one to report
                    file.truncate(size)
                raise
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}), expected room and a file that can be written to"
        ) from error


def _record(path: Path, number: int, line: bytes) -> Record:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: line {number}: got {line[:40]!r}, expected a JSON object ({error})") from error
    if not isinstance(record, dict):
        raise InputError(f"{path}: line {number}: got {line[:40]!r}, expected a JSON object")
    return record


def _starts(content: bytes, header: Record) -> bool:
    return json.dumps(header, allow_nan=False).encode().startswith(content)


def _cut(path: Path, size: int) -> None:
    try:
        if path.exists():
            os.truncate(path, size)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror}), expected a file that can be written to"
        ) from error
