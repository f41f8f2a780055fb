"""A scene: the objects of one generated video, what they look like and how they move.

Lengths are in units of the frame's side, times run from 0 (first frame) to 1 (last frame), y points down.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHAPES = ("circle", "square", "triangle", "star", "cross")
COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "cyan", "white")
TEXTURES = ("plain", "striped", "spotted")
SIZES = ("small", "medium", "large")
MOTIONS = (
    "still",
    "left",
    "right",
    "up",
    "down",
    "turn",
    "bend",
    "stop",
    "start",
    "grow",
    "shrink",
    "enter",
    "leave",
)
DIRECTIONS = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "up": (0.0, -1.0), "down": (0.0, 1.0)}

RADIUS_RANGES = {"small": (0.070, 0.085), "medium": (0.102, 0.122), "large": (0.145, 0.180)}


@dataclass(frozen=True)
class Difficulty:
    """How hard the generated videos are; the held-out set fixes one of these."""

    fewest_objects: int = 3
    most_objects: int = 5
    look_alike_share: float = 0.75  # share of scenes that hold objects which only motion or relation tells apart
    calm_share: float = 0.35  # share of scenes in which most objects stay where they are
    travel: tuple[float, float] = (0.34, 0.58)  # distance a moving object covers over the video
    camera_drift: float = 0.05  # largest drift of the camera over the video
    noise: float = 5.0  # standard deviation of the pixel noise, in levels of 255
    fewest_frames: int = 12
    most_frames: int = 20


@dataclass(frozen=True)
class SceneObject:
    """One object: its look and its motion."""

    shape: str
    colour: str
    texture: str
    size: str
    radius: float
    angle: float  # radians
    motion: str
    heading: str  # direction of the first leg, "" when nothing moves
    second_heading: str  # direction of the second leg of a "bend", else ""
    travel: float
    change_time: float  # when a turn, bend, stop or start happens
    anchor: tuple[float, float]  # centre of the path's bounding box

    def offsets(self, times: NDArray[np.float32]) -> NDArray[np.float32]:
        """Path relative to its own start, [frames, 2] in frame sides."""
        out = np.zeros((len(times), 2), np.float32)
        if not self.heading:
            return out
        first = np.asarray(DIRECTIONS[self.heading], np.float32)
        t, c = times[:, None], self.change_time
        before, after = np.minimum(t / c, 1.0), np.maximum((t - c) / (1.0 - c), 0.0)
        if self.motion == "turn":
            return np.asarray((first * self.travel * (before - after)), np.float32)
        if self.motion == "bend":
            second = np.asarray(DIRECTIONS[self.second_heading], np.float32)
            return np.asarray((self.travel * (first * before + second * after)), np.float32)
        if self.motion == "stop":
            return np.asarray((first * self.travel * before), np.float32)
        if self.motion == "start":
            return np.asarray((first * self.travel * after), np.float32)
        return np.asarray((first * self.travel * t), np.float32)

    def positions(self, times: NDArray[np.float32]) -> NDArray[np.float32]:
        """Centres, [frames, 2] as (x, y) in frame sides, camera drift not included."""
        whole = self.offsets(np.linspace(0.0, 1.0, 41, dtype=np.float32))
        middle = (whole.min(0) + whole.max(0)) / 2.0
        return np.asarray((self.offsets(times) - middle + np.asarray(self.anchor, np.float32)), np.float32)

    def scales(self, times: NDArray[np.float32]) -> NDArray[np.float32]:
        """Size relative to `radius`, [frames]."""
        if self.motion == "grow":
            return np.asarray((0.72 + 0.66 * times), np.float32)
        if self.motion == "shrink":
            return np.asarray((1.38 - 0.66 * times), np.float32)
        return np.ones_like(times)

    def reach(self) -> tuple[float, float]:
        """Half the path's extent in x and y, frame sides."""
        whole = self.offsets(np.linspace(0.0, 1.0, 41, dtype=np.float32))
        half = (whole.max(0) - whole.min(0)) / 2.0
        return float(half[0]), float(half[1])


@dataclass(frozen=True)
class Scene:
    """The objects of a video, the farthest first (later ones are drawn on top)."""

    things: tuple[SceneObject, ...]
    frames: int
    drift: tuple[float, float]  # camera motion over the whole video, frame sides
    seed: int  # of everything that is painted

    def times(self) -> NDArray[np.float32]:
        """Time of every frame, [frames] in 0..1."""
        return np.linspace(0.0, 1.0, self.frames, dtype=np.float32)

    def camera(self, times: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the camera's motion adds to every position, [frames, 2]."""
        return (times[:, None] - 0.5) * np.asarray(self.drift, np.float32)
