"""Protocol buffers read and written field by field, without a schema: enough to change an ONNX graph on a device where
the `onnx` package is not installed. Wire format: https://protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {FIXED64: 8, FIXED32: 4}


class Field(NamedTuple):
    """One field of a message, as it stands on the wire."""

    number: int
    kind: int  # VARINT, FIXED64, BYTES or FIXED32
    value: int | bytes  # int for VARINT, else bytes


Message = list[Field]


def parse(content: bytes) -> Message:
    """The fields of a message, in order; what is inside BYTES is not looked at. ValueError: not protocol buffers."""
    fields: Message = []
    view, place = memoryview(content), 0
    while place < len(view):
        tag, place = _varint(view, place)
        number, kind = tag >> 3, tag & 7
        if kind == VARINT:
            value, place = _varint(view, place)
            fields.append(Field(number, kind, value))
            continue
        if kind == BYTES:
            size, place = _varint(view, place)
        elif kind in _FIXED_SIZES:
            size = _FIXED_SIZES[kind]
        else:
            raise ValueError(f"field {number} has wire type {kind}")
        if place + size > len(view):
            raise ValueError(f"field {number} ends behind the message")
        fields.append(Field(number, kind, bytes(view[place : place + size])))
        place += size
    return fields


def serialise(fields: Iterable[Field]) -> bytes:
    """A message from its fields."""
    parts: list[bytes] = []
    for number, kind, value in fields:
        parts.append(_encoded(number << 3 | kind))
        if isinstance(value, int):
            parts.append(_encoded(value))
        elif kind == BYTES:
            parts += (_encoded(len(value)), value)
        else:
            parts.append(value)
    return b"".join(parts)


def head(number: int, size: int) -> bytes:
    """What stands before the bytes of a field of kind BYTES."""
    return _encoded(number << 3 | BYTES) + _encoded(size)


def every(message: Message, number: int) -> Iterator[bytes]:
    """All values of a repeated field of strings, bytes or messages."""
    return (field.value for field in message if field.number == number and isinstance(field.value, bytes))


def text(message: Message, number: int) -> str:
    """A string field; '' if it is not there."""
    return next((value.decode() for value in every(message, number)), "")


def number_of(message: Message, number: int) -> int:
    """An integer field; 0 if it is not there."""
    return next((field.value for field in message if field.number == number and isinstance(field.value, int)), 0)


def string(number: int, value: str) -> Field:
    """A string field."""
    return Field(number, BYTES, value.encode())


def _varint(view: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if place >= len(view) or shift > 63:
            raise ValueError("a number does not end")
        byte = view[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7


def _encoded(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
