"""Frames that look like a video as far as numbers go: for comparing graphs when no clip is at hand."""

import cv2
import numpy as np
from numpy.typing import NDArray

from glus_edge.runtime.video.frame import Frame

HEIGHT, WIDTH = 480, 854
OCTAVES = (3, 6, 12, 24, 48, 96, 192)  # cells along the shorter side
DISC = (220, 40, 30)  # the colour of the one thing that moves


def sample_frames(count: int, seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> list[Frame]:
    """`count` frames uint8 [height, width, 3]: noise with the 1/f spectrum of natural images, and a disc crossing it."""
    random = np.random.default_rng(seed)
    background = np.zeros((height, width, 3), np.float32)
    for cells in OCTAVES:
        grid = random.standard_normal((cells, cells * width // height + 1, 3)).astype(np.float32)
        background += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) * (3.0 / cells)
    low, high = float(background.min()), float(background.max())
    scene: NDArray[np.uint8] = ((background - low) * (255 / (high - low))).astype(np.uint8)
    frames = []
    for index in range(count):
        rgb = scene.copy()
        centre = (width * (2 * index + 1) // (2 * count), height // 2)
        cv2.circle(rgb, centre, height // 8, DISC, thickness=-1, lineType=cv2.LINE_AA)
        frames.append(Frame(index, index / 25, rgb))
    return frames
