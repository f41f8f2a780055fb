"""JPEG, PNG and WebP files as pictures."""

import cv2
import numpy as np
from numpy.typing import NDArray

from glus_edge.runtime.video.image_header import image_header, is_image
from glus_edge.runtime.video.picture_size import LARGEST_PICTURE, size_refusal

_EXPECTED = "expected a whole JPEG, PNG or WebP"
_DAMAGED = f"got a damaged or cut-off image, {_EXPECTED}"


class PictureError(ValueError):
    """What is wrong with a picture: what came, and what was expected."""


def image_from_bytes(data: bytes, largest: int = LARGEST_PICTURE) -> NDArray[np.uint8]:
    """A JPEG, PNG or WebP file as uint8 [H, W, 3], RGB, turned by its EXIF orientation, no alpha. `largest`: pixels.

    PictureError: it is none, damaged, cut off, animated or too large.
    """
    if not is_image(data):
        raise PictureError(f"got {len(data)} bytes that are no picture, {_EXPECTED}")
    header = image_header(data)
    refusal = size_refusal(header.width, header.height, largest)
    if refusal is not None:
        raise PictureError(refusal)
    if header.animated:
        raise PictureError("got an animated image, expected a single picture; save each of its frames as a PNG")
    # Decoders fill the missing part of a cut-off image with grey and only print a warning: look before decoding.
    if not header.whole:
        raise PictureError(_DAMAGED)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise PictureError(_DAMAGED) from error
    if image is None:
        raise PictureError(_DAMAGED)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
