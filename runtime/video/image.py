"""JPEG and PNG files as pictures."""

import cv2
import numpy as np
from numpy.typing import NDArray

JPEG, PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"  # how the files begin


def image_from_bytes(data: bytes) -> NDArray[np.uint8] | None:
    """A whole JPEG or PNG file as uint8 [H, W, 3], RGB, upright by its EXIF orientation, no alpha. None: it is neither."""
    # Decoders fill the missing part of a cut-off image with grey and only print a warning: look before decoding.
    whole = _is_whole_jpeg(data) if data.startswith(JPEG) else b"IEND" in data[-4096:]
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if whole else None
    return None if image is None else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def _is_whole_jpeg(data: bytes) -> bool:
    """Whether the end-of-image marker follows the picture's own scan (an embedded thumbnail has one, too)."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xDA:
            return data.find(b"\xff\xd9", position) >= 0
        # Fill bytes and markers without a payload are one and two bytes long, all others carry their length.
        if marker == 0xFF:
            position += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:
            position += 2
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return False
