"""Parts of a serialised protobuf message, found in place (https://protobuf.dev/programming-guides/encoding).

Without the `onnx` package and without copies: a graph may hold gigabytes.
"""

import mmap
from collections.abc import Iterator
from typing import NamedTuple

_FIXED_BYTES = {1: 8, 5: 4}


class Part(NamedTuple):
    """Where bytes, a string or a message stands in the file."""

    start: int
    stop: int


def whole(content: mmap.mmap) -> Part:
    """The message that a file is."""
    return Part(0, len(content))


def parts(content: mmap.mmap, message: Part, wanted: int) -> Iterator[Part]:
    """The parts of that field number. ValueError: it is no message."""
    place, end = message
    while place < end:
        tag, place = _varint(content, place, end)
        kind, size = tag & 7, 0
        if kind == 0:
            _, place = _varint(content, place, end)
            continue
        if kind == 2:
            size, place = _varint(content, place, end)
        elif kind in _FIXED_BYTES:
            size = _FIXED_BYTES[kind]
        else:
            raise ValueError(f"a field has wire type {kind}")
        if place + size > end:
            raise ValueError("a field ends behind its message")
        if kind == 2 and tag >> 3 == wanted:
            yield Part(place, place + size)
        place += size


def _varint(content: mmap.mmap, place: int, end: int) -> tuple[int, int]:
    if place < end and (byte := content[place]) < 128:
        return byte, place + 1
    value = shift = 0
    while place < end and shift < 64:
        byte = content[place]
        value, place, shift = value | (byte & 127) << shift, place + 1, shift + 7
        if byte < 128:
            return value, place
    raise ValueError("a number is cut off")
