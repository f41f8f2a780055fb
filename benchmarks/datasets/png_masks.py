"""Masks and object numbers in PNG files, as sets annotate them and people submit them."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from glus_edge.runtime.errors import InputError
from glus_edge.runtime.video.frame import FrameSize

_MODES = ("1", "L", "P")  # of Pillow: two values, grey, indexed


def read_mask(path: Path, size: FrameSize) -> NDArray[np.bool_]:
    """bool [H, W]: where the picture is not black. InputError: it cannot be read, or has another size."""
    return read_grey(path, size) > 0


def read_grey(path: Path, size: FrameSize) -> NDArray[np.uint8]:
    """uint8 [H, W]: how bright each pixel is. InputError: it cannot be read, or has another size."""
    with _opened(path, size) as image:
        return np.array(image.convert("L"))


def read_object_numbers(path: Path, size: FrameSize) -> NDArray[np.uint8]:
    """uint8 [H, W]: the index of each pixel's colour, or its grey. InputError: it cannot be read, or has another size."""
    with _opened(path, size) as image:
        return np.array(image, np.uint8)


def _opened(path: Path, size: FrameSize) -> Image.Image:
    try:
        image = Image.open(path, formats=("PNG",))
        got = FrameSize(image.height, image.width)
        if image.mode not in _MODES or got != size:
            raise InputError(
                f"{path}: got a picture of mode {image.mode} and {got.height} x {got.width}, expected a grey or indexed one of "
                f"{size.height} x {size.width}"
            )
        image.load()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}), expected a PNG file") from error
    except (ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: got {error}, expected a PNG file") from error
    return image
