"""Draws scenes: look-alike groups first, so that relation and motion sentences have something to decide."""

from dataclasses import dataclass, replace

import numpy as np

from glus_edge.training.data.scene import (
    COLOURS,
    DIRECTIONS,
    MOTIONS,
    RADIUS_RANGES,
    SHAPES,
    SIZES,
    TEXTURES,
    Difficulty,
    Scene,
    SceneObject,
)

_MOTION_WEIGHTS = {
    "still": 2.0,
    "left": 1.6,
    "right": 1.6,
    "up": 1.6,
    "down": 1.6,
    "turn": 1.3,
    "bend": 1.0,
    "stop": 1.0,
    "start": 1.0,
    "grow": 1.0,
    "shrink": 1.0,
    "enter": 0.25,
    "leave": 0.25,
}


@dataclass(frozen=True)
class _Look:
    shape: str
    colour: str
    texture: str
    size: str


def _pick(rng: np.random.Generator, values: tuple[str, ...]) -> str:
    return values[int(rng.integers(len(values)))]


def _look(rng: np.random.Generator) -> _Look:
    texture = TEXTURES[int(rng.choice(3, p=(0.5, 0.25, 0.25)))]
    return _Look(_pick(rng, SHAPES), _pick(rng, COLOURS), texture, _pick(rng, SIZES))


def _related(rng: np.random.Generator, look: _Look) -> _Look:
    """A look that shares the shape or the colour of another: a distractor for its sentence."""
    other = _look(rng)
    return replace(other, shape=look.shape) if rng.random() < 0.5 else replace(other, colour=look.colour)


def _motion(rng: np.random.Generator, calm: bool, taken: set[str]) -> str:
    if calm and rng.random() < 0.75:
        return "still"
    weights = np.array([0.0 if m in taken else _MOTION_WEIGHTS[m] for m in MOTIONS])
    return MOTIONS[int(rng.choice(len(MOTIONS), p=weights / weights.sum()))]


def _thing(rng: np.random.Generator, look: _Look, motion: str, difficulty: Difficulty) -> SceneObject:
    low, high = RADIUS_RANGES[look.size]
    heading = second = ""
    if motion in DIRECTIONS:
        heading = motion
    elif motion in ("turn", "bend", "stop", "start", "enter", "leave"):
        heading = _pick(rng, tuple(DIRECTIONS))
    if motion == "bend":
        second = _pick(rng, ("up", "down") if heading in ("left", "right") else ("left", "right"))
    travel = float(rng.uniform(*difficulty.travel))
    if motion in ("bend", "turn", "stop", "start"):
        travel *= 0.8
    thing = SceneObject(
        shape=look.shape,
        colour=look.colour,
        texture=look.texture,
        size=look.size,
        radius=float(rng.uniform(low, high)),
        angle=float(rng.uniform(-0.35, 0.35)),
        motion=motion,
        heading=heading,
        second_heading=second,
        travel=travel,
        change_time=float(rng.uniform(0.38, 0.62)),
        anchor=(0.5, 0.5),
    )
    return replace(thing, anchor=_anchor(rng, thing))


def _anchor(rng: np.random.Generator, thing: SceneObject) -> tuple[float, float]:
    """A place for the path inside the frame; entering and leaving objects have one end outside."""
    half = thing.reach()
    room = thing.radius * (1.38 if thing.motion in ("grow", "shrink") else 1.0) * 0.8 + 0.03
    anchor = [0.5, 0.5]
    for axis in range(2):
        slack = max(0.5 - half[axis] - room, 0.0)
        anchor[axis] = float(0.5 + rng.uniform(-slack, slack))
    if thing.motion in ("enter", "leave"):
        x, y = DIRECTIONS[thing.heading]
        sign = -1.0 if thing.motion == "enter" else 1.0
        shift = 0.5 + thing.radius - thing.travel / 2.0
        if x:
            anchor[0] = 0.5 + sign * x * shift
        else:
            anchor[1] = 0.5 + sign * y * shift
    return anchor[0], anchor[1]


def _overlap(a: SceneObject, b: SceneObject) -> float:
    """Largest share of the smaller object's radius that two objects' centres come too close by, over the video."""
    times = np.linspace(0.0, 1.0, 9, dtype=np.float32)
    gap = np.linalg.norm(a.positions(times) - b.positions(times), axis=1)
    reach = a.radius * a.scales(times) + b.radius * b.scales(times)
    return float(((reach - gap) / reach).clip(0.0, 1.0).mean())


def _place(rng: np.random.Generator, thing: SceneObject, others: list[SceneObject], tries: int = 8) -> SceneObject:
    """The candidate place that overlaps the others least; some occlusion stays."""
    best, best_cost = thing, np.inf
    for _ in range(tries):
        cost = max((_overlap(thing, other) for other in others), default=0.0)
        if cost < best_cost:
            best, best_cost = thing, cost
        if cost < 0.06:
            break
        thing = replace(thing, anchor=_anchor(rng, thing))
    return best


def draw_scene(seed: int, difficulty: Difficulty) -> Scene:
    """A scene, determined by `seed` and `difficulty` alone."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(difficulty.fewest_objects, difficulty.most_objects + 1))
    calm = bool(rng.random() < difficulty.calm_share)
    leader = _look(rng)
    looks: list[_Look] = [leader]
    if rng.random() < difficulty.look_alike_share:
        twins = 2 if count < 5 or rng.random() < 0.75 else 3
        for _ in range(twins - 1):
            twin = leader
            if rng.random() < 0.35:
                twin = replace(twin, size=_pick(rng, SIZES))
            if rng.random() < 0.25:
                twin = replace(twin, colour=_pick(rng, COLOURS))
            looks.append(twin)
    group = len(looks)
    while len(looks) < count:
        looks.append(_related(rng, looks[int(rng.integers(len(looks)))]) if rng.random() < 0.5 else _look(rng))
    things: list[SceneObject] = []
    taken: set[str] = set()
    for number, look in enumerate(looks):
        motion = _motion(rng, calm, taken if number < group else set())
        if number < group and motion != "still":
            taken.add(motion)
        things.append(_place(rng, _thing(rng, look, motion, difficulty), things))
    rng.shuffle(things)
    frames = int(rng.integers(difficulty.fewest_frames, difficulty.most_frames + 1))
    drift = rng.uniform(-difficulty.camera_drift, difficulty.camera_drift, 2)
    return Scene(tuple(things), frames, (float(drift[0]), float(drift[1])), int(rng.integers(2**31)))
