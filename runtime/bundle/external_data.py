"""Which files an ONNX graph keeps its weights in.

Read field by field (wire format: https://protobuf.dev/programming-guides/encoding), without the `onnx` package and without
copies: a graph may hold gigabytes.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

# Field numbers of onnx.proto.
_GRAPH, _INITIALIZER, _EXTERNAL_DATA, _KEY, _VALUE = 7, 5, 13, 1, 2
_LOCATION = b"location"  # the key of an external tensor's file
_FIXED_BYTES = {1: 8, 5: 4}


def external_files(path: Path) -> set[str]:
    """Names of the files, relative to the graph's folder. ValueError: it is no ONNX graph."""
    if not path.stat().st_size:
        raise ValueError("it is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find(_LOCATION) < 0:  # most graphs: weights within
            return set()
        with memoryview(content) as view:
            return set(_locations(view))


def _locations(model: memoryview) -> Iterator[str]:
    for graph in _messages(model, _GRAPH):
        for tensor in _messages(graph, _INITIALIZER):
            for entry in _messages(tensor, _EXTERNAL_DATA):
                if any(bytes(key) == _LOCATION for key in _messages(entry, _KEY)):
                    yield from (str(value, "utf-8") for value in _messages(entry, _VALUE))


def _messages(message: memoryview, wanted: int) -> Iterator[memoryview]:
    """The parts of that field number which are bytes, strings or messages."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        kind, size = tag & 7, 0
        if kind == 0:
            _, place = _varint(message, place)
            continue
        if kind == 2:
            size, place = _varint(message, place)
        elif kind in _FIXED_BYTES:
            size = _FIXED_BYTES[kind]
        else:
            raise ValueError(f"a field has wire type {kind}")
        if place + size > len(message):
            raise ValueError("a field ends behind its message")
        if kind == 2 and tag >> 3 == wanted:
            yield message[place : place + size]
        place += size


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(message) and shift < 64:
        byte = message[place]
        value, place, shift = value | (byte & 127) << shift, place + 1, shift + 7
        if byte < 128:
            return value, place
    raise ValueError("a number is cut off")
