"""Pixels of the two image towers from a frame, and a frame's masks from mask logits.

Both towers see the frame as the reference's do: CLIP through Pillow's bicubic filter on bytes and a centre crop,
SAM 2 through an antialiased bilinear filter on floats that does not keep the aspect ratio.
"""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from glus_edge.runtime.bundle.manifest import ImageSettings
from glus_edge.runtime.pixels.resize_weights import PRECISION_BITS, bicubic, fixed_point
from glus_edge.runtime.video.frame import FrameSize

Pixels = NDArray[np.float32]  # [3, S, S]

_LARGEST_WASTE = 4  # rows or columns that Pillow makes for one that is kept: pictures of 4:1 and less are left to it


def clip_pixels(rgb: NDArray[np.uint8], settings: ImageSettings) -> Pixels:
    """CLIP's input for one frame: float32 [3, size, size] from uint8 [H, W, 3].

    The shorter side becomes `size`, the longer one is rounded down, and the centre square is cut out: what lies
    outside it is invisible to the language model. Bit for bit what CLIPImageProcessor gives.
    """
    size = settings.size
    (height, top), (width, left) = centre_crop(FrameSize(*rgb.shape[:2]), size)
    # WAR(Pillow 13): across, then down, in two calls; in one it may go down first and round differently than the reference
    across = _resized(rgb, 1, width, range(left, left + size))
    square = _resized(across, 0, height, range(top, top + size))
    tables = _normalised_values(settings.mean, settings.std)
    return np.stack([table[square[..., channel]] for channel, table in enumerate(tables)])


def centre_crop(size: FrameSize, side: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """CLIP's resize and crop, for rows and for columns: pixels after the resize, and the first of the `side` that are kept."""
    shorter = min(size)
    height, width = (side if length == shorter else int(side * length / shorter) for length in size)
    return (height, (height - side) // 2), (width, (width - side) // 2)


def _resized(rgb: NDArray[np.uint8], axis: int, target: int, kept: range) -> NDArray[np.uint8]:
    """A picture uint8 [H, W, 3] resized to `target` rows (axis 0) or columns (axis 1), of which `kept` are returned.

    Pillow makes all before any can be dropped. Where a strip is enlarged to many times what is kept, only those are made
    that are, with Pillow's own integer weights.
    """
    height, width = rgb.shape[:2]
    if target <= max(rgb.shape[axis], _LARGEST_WASTE * len(kept)):
        shape = (width, target) if axis == 0 else (target, height)
        resized = np.asarray(Image.fromarray(rgb).resize(shape, Image.Resampling.BICUBIC))
        return resized[kept.start : kept.stop] if axis == 0 else resized[:, kept.start : kept.stop]
    weights = fixed_point(bicubic(rgb.shape[axis], target, kept))
    used = np.flatnonzero(weights.any(axis=0))
    needed = slice(used[0], used[-1] + 1)
    # Integers below 2^53: exact.
    lines = np.moveaxis(rgb, axis, 0)[needed].astype(np.float64)
    sums = np.tensordot(weights[:, needed].astype(np.float64), lines, 1).astype(np.int64)
    made = np.clip((sums + (1 << (PRECISION_BITS - 1))) >> PRECISION_BITS, 0, 255).astype(np.uint8)
    return np.moveaxis(made, 0, axis)


def sam_pixels(rgb: NDArray[np.uint8], settings: ImageSettings) -> Pixels:
    """SAM 2's input for one frame: float32 [3, size, size] from uint8 [H, W, 3].

    Within 2e-6 of torch.nn.functional.interpolate(mode="bilinear", antialias=True, align_corners=False) on x / 255,
    normalised afterwards: the filter's weights add up to one, so normalising the 256 byte values first is the same.
    """
    size = settings.size
    pixels = np.empty((3, size, size), np.float32)
    for channel, table in enumerate(_normalised_values(settings.mean, settings.std)):
        plane = np.asarray(cv2.LUT(cv2.extractChannel(rgb, channel), table), np.float32)
        height, width = plane.shape
        # Antialiasing matters only along an axis that shrinks. Pillow's filter is the antialiased one; along an axis
        # that grows both compute the same and OpenCV is several times faster.
        shrunk = (min(height, size), min(width, size))
        if shrunk != (height, width):
            image = Image.fromarray(plane).resize((shrunk[1], shrunk[0]), Image.Resampling.BILINEAR)
            plane = np.asarray(image, np.float32)
        pixels[channel] = plane if shrunk == (size, size) else _enlarged(plane, size, size)
    return pixels


def masks_from_logits(mask_logits: NDArray[np.float32], height: int, width: int) -> NDArray[np.bool_]:
    """Masks bool [B, height, width] from float32 logits [B, 1, h, w]: resized bilinearly, then > 0.

    The weights are those of torch.nn.functional.interpolate(mode="bilinear", align_corners=False), without antialias.
    """
    masks = np.empty((len(mask_logits), height, width), np.bool_)
    for mask, logits in zip(masks, mask_logits, strict=True):
        np.greater(_enlarged(logits[0], height, width), 0, out=mask)
    return masks


def _enlarged(plane: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    resized = cv2.resize(np.ascontiguousarray(plane, np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.float32)


@lru_cache(maxsize=8)
def _normalised_values(mean: tuple[float, ...], std: tuple[float, ...]) -> NDArray[np.float32]:
    """(byte / 255 - mean) / std for every byte value, float32 [3, 256], each step rounded as the reference's is."""
    scaled = np.arange(256, dtype=np.float32) / np.float32(255)
    means, deviations = np.asarray(mean, np.float32)[:, None], np.asarray(std, np.float32)[:, None]
    return (scaled - means) / deviations
