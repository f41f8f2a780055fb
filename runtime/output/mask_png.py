"""A mask as a PNG file: eight-bit grey, 0 or 255.

Written here because masks need none of what makes general encoders slow: OpenCV tries every filter on every line,
which takes most of its time and gains nothing on two values.
"""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _BITS = 0, 8
_LEVEL = 1  # of zlib; higher ones take longer for hardly smaller masks


def png_from_mask(mask: NDArray[np.bool_]) -> bytes:
    """The PNG file of a mask bool [H, W] (W3C Portable Network Graphics, third edition)."""
    height, width = mask.shape
    lines = np.zeros((height, width + 1), np.uint8)  # each line begins with its filter: 0, none
    np.multiply(mask, np.uint8(255), out=lines[:, 1:])
    header = struct.pack(">IIBBBBB", width, height, _BITS, _GREY, 0, 0, 0)
    data = zlib.compress(lines.tobytes(), _LEVEL)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))
