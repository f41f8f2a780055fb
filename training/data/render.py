"""Paints a scene: textured objects over a textured, drifting background, all frames of an object at once."""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from glus_edge.training.data.scene import Difficulty, Scene, SceneObject

PALETTE = {
    "red": (214, 36, 40),
    "green": (40, 160, 50),
    "blue": (40, 72, 214),
    "yellow": (236, 216, 40),
    "purple": (140, 48, 178),
    "orange": (240, 128, 24),
    "cyan": (48, 208, 216),
    "white": (240, 240, 240),
}


def _signed_distance(shape: str, x: NDArray[np.float32], y: NDArray[np.float32], r: float) -> NDArray[np.float32]:
    """Negative inside, in the units of `r`, the circumscribed radius. Exact or a lower bound of the distance."""
    if shape == "circle":
        return np.sqrt(x * x + y * y) - np.float32(r)
    ax, ay = np.abs(x), np.abs(y)
    if shape == "square":
        return np.maximum(ax, ay) - np.float32(0.84 * r)
    if shape == "triangle":
        return np.maximum(ax * np.float32(0.8660254) - y * np.float32(0.5), y) - np.float32(0.56 * r)
    if shape == "cross":
        wide, thin = np.float32(0.98 * r), np.float32(0.36 * r)
        return np.minimum(np.maximum(ax - wide, ay - thin), np.maximum(ax - thin, ay - wide))
    # a five-pointed star: fold the angle into one half-point, then the distance to the edge's line
    sector = np.float32(np.pi / 5)
    angle = np.arctan2(ax, -y)
    angle = np.abs(np.mod(angle + sector, 2 * sector) - sector)
    radius = np.sqrt(x * x + y * y)
    outer, inner = np.float32(1.06 * r), np.float32(0.52 * r)
    px, py = radius * np.cos(angle), radius * np.sin(angle)
    ix, iy = inner * np.cos(sector), inner * np.sin(sector)
    ex, ey = ix - outer, iy
    length = np.sqrt(ex * ex + ey * ey)
    return np.asarray(((px - outer) * ey - py * ex) / length, np.float32)


def _shade(texture: str, x: NDArray[np.float32], y: NDArray[np.float32], r: float) -> NDArray[np.float32]:
    """Brightness factor of the texture at object coordinates, 0.24..1."""
    if texture == "striped":
        wave = np.sin(x * np.float32(2 * np.pi / (0.5 * r)) + np.float32(0.8))
    elif texture == "spotted":
        k = np.float32(2 * np.pi / (0.62 * r))
        wave = np.float32(1.5) - np.float32(1.9) * (np.cos(x * k) + np.cos(y * k))
        wave = wave * np.float32(0.7)
    else:
        return np.ones_like(x)
    shade: NDArray[np.float32] = np.float32(0.62) + np.float32(0.38) * np.clip(wave * 3.0, -1.0, 1.0)
    return shade


def _background(rng: np.random.Generator, size: int, margin: int) -> NDArray[np.float32]:
    """Dull, smooth texture larger than the frame, [size + 2 margin, size + 2 margin, 3] in 0..255."""
    side = size + 2 * margin
    base = rng.uniform(45, 135) + rng.uniform(-16, 16, 3)
    out = np.broadcast_to(base.astype(np.float32), (side, side, 3)).copy()
    for cells, strength in ((3, 22.0), (8, 12.0), (24, 8.0)):
        grey = rng.normal(0.0, strength, (cells, cells, 1)) + rng.normal(0.0, strength * 0.3, (cells, cells, 3))
        out += cv2.resize(grey.astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    return out


def _paint(thing: SceneObject, tint: NDArray[np.float32], centres: NDArray[np.float32], radii: NDArray[np.float32],
           canvas: NDArray[np.float32], owner: NDArray[np.uint8], label: int) -> None:  # fmt: skip
    """Draws one object on every frame; `centres` [frames, 2] and `radii` [frames] in pixels."""
    frames, size = canvas.shape[0], canvas.shape[1]
    half = int(np.ceil(float(radii.max()) * 1.25)) + 2
    corners = np.floor(centres).astype(np.int64) - half  # [frames, 2]
    grid = np.arange(2 * half + 1, dtype=np.float32) + np.float32(0.5)
    dx = grid[None, :] + (corners[:, 0:1] - centres[:, 0:1]).astype(np.float32)
    dy = grid[None, :] + (corners[:, 1:2] - centres[:, 1:2]).astype(np.float32)
    unit = (float(radii.mean()) / radii).astype(np.float32)[:, None, None]
    cos, sin = np.float32(np.cos(thing.angle)), np.float32(np.sin(thing.angle))
    x = (dx[:, None, :] * cos + dy[:, :, None] * sin) * unit
    y = (dy[:, :, None] * cos - dx[:, None, :] * sin) * unit
    mean = float(radii.mean())
    alpha = np.clip(np.float32(0.5) - _signed_distance(thing.shape, x, y, mean) / unit, 0.0, 1.0)
    colour = _shade(thing.texture, x, y, mean)[..., None] * tint
    for f in range(frames):
        left, top = int(corners[f, 0]), int(corners[f, 1])
        x0, y0 = max(left, 0), max(top, 0)
        x1, y1 = min(left + 2 * half + 1, size), min(top + 2 * half + 1, size)
        if x0 >= x1 or y0 >= y1:
            continue
        part = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
        cover = alpha[f][part]
        view = canvas[f, y0:y1, x0:x1]
        view += cover[..., None] * (colour[f][part] - view)
        owner[f, y0:y1, x0:x1][cover > 0.5] = label


@lru_cache(maxsize=4)
def _noise_sheet(side: int) -> NDArray[np.float32]:
    """Standard normal noise [side, side, 3], the same for all videos."""
    return np.random.default_rng(0).standard_normal((side, side, 3), np.float32)


def render(
    scene: Scene, frames: NDArray[np.int64], size: int, difficulty: Difficulty
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Some frames of a scene.

    Args:
        scene: what to paint.
        frames: frame numbers, [F].
        size: side of the square frames, pixels.
        difficulty: supplies the noise.

    Returns:
        RGB frames [F, size, size, 3] uint8, and owners [F, size, size] uint8: 0 for the background, i + 1 where
        object i is the one that is seen. A pixel of frame f does not depend on which other frames are asked for.
    """
    rng = np.random.default_rng(scene.seed)
    margin = int(np.ceil(difficulty.camera_drift * size / 2)) + 2
    backdrop = _background(rng, size, margin)
    tints = [np.asarray(PALETTE[t.colour], np.float32) * rng.uniform(0.88, 1.06) for t in scene.things]
    noise_seed = int(rng.integers(2**31))
    times = scene.times()[frames]
    camera = scene.camera(times) * size
    canvas = np.empty((len(frames), size, size, 3), np.float32)
    for f, (cx, cy) in enumerate(camera):
        shift = np.array([[1, 0, cx - margin], [0, 1, cy - margin]], np.float32)
        cv2.warpAffine(backdrop, shift, (size, size), dst=canvas[f], flags=cv2.INTER_LINEAR)
    owner = np.zeros((len(frames), size, size), np.uint8)
    for number, thing in enumerate(scene.things):
        tint = np.clip(tints[number] + rng.uniform(-10, 10, 3).astype(np.float32), 0, 255).astype(np.float32)
        centres = thing.positions(times) * size + camera
        _paint(thing, tint, centres, thing.radius * thing.scales(times) * size, canvas, owner, number + 1)
    if difficulty.noise > 0:
        sheet = _noise_sheet(size + 128)
        corners = np.random.default_rng(noise_seed).integers(0, 128, (scene.frames, 2))
        for f, number in enumerate(frames):  # one sheet of noise, read from another corner in each frame
            oy, ox = corners[number]
            canvas[f] += np.float32(difficulty.noise) * sheet[oy : oy + size, ox : ox + size]
    return np.clip(canvas, 0, 255).astype(np.uint8), owner
