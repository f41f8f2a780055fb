"""Masks as PNG files: eight-bit grey with 0 or one other value, or object numbers with a palette.

Written here because masks need none of what makes general encoders slow: OpenCV tries every filter on every line,
which takes most of its time and gains nothing on two values.
"""

import struct
import zlib
from functools import cache

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _INDEXED, _BITS = 0, 3, 8  # colour types, and bits of a pixel
_LEVEL = 1  # of zlib; higher ones take longer for hardly smaller masks


def png_from_mask(mask: NDArray[np.bool_], value: int = 255) -> bytes:
    """The PNG file of a mask bool [H, W], 0 or `value` (W3C Portable Network Graphics, third edition)."""
    return _png(np.multiply(mask, np.uint8(value)), _GREY)


def png_from_indices(numbers: NDArray[np.uint8]) -> bytes:
    """The indexed PNG file of object numbers uint8 [H, W], in DAVIS's palette."""
    return _png(numbers, _INDEXED, _chunk(b"PLTE", davis_palette()))


@cache
def davis_palette() -> bytes:
    """256 colours, three bytes each, as DAVIS, Pascal VOC and YouTube-VOS share them: a number's bits make its colour."""
    colours = bytearray()
    for number in range(256):
        colour, rest = [0, 0, 0], number
        for bit in range(7, -1, -1):
            for channel in range(3):
                colour[channel] |= (rest >> channel & 1) << bit
            rest >>= 3
        colours += bytes(colour)
    return bytes(colours)


def _png(pixels: NDArray[np.uint8], colour_type: int, palette: bytes = b"") -> bytes:
    height, width = pixels.shape
    lines = np.zeros((height, width + 1), np.uint8)  # each line begins with its filter: 0, none
    lines[:, 1:] = pixels
    header = struct.pack(">IIBBBBB", width, height, _BITS, colour_type, 0, 0, 0)
    data = zlib.compress(lines.tobytes(), _LEVEL)
    return _SIGNATURE + _chunk(b"IHDR", header) + palette + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))
