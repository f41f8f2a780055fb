"""Sentences about a scene: what they refer to and what decides them.

A sentence is made only when the scene leaves no doubt about it: every object either clearly fits or clearly does not.
"""

from dataclasses import dataclass

import numpy as np

from glus_edge.training.data.scene import COLOURS, DIRECTIONS, SHAPES, SIZES, Scene, SceneObject

KINDS = ("appearance", "relation", "motion", "none")

# Phrases per motion predicate, singular and plural.
MOTION_PHRASES = {
    "left": ("moves left", "move left"),
    "right": ("moves right", "move right"),
    "up": ("moves up", "move up"),
    "down": ("moves down", "move down"),
    "turn": ("turns around", "turn around"),
    "bend": ("moves {first} and then {second}", "move {first} and then {second}"),
    "stop": ("stops", "stop"),
    "start": ("starts moving", "start moving"),
    "still": ("stays still", "stay still"),
    "grow": ("gets larger", "get larger"),
    "shrink": ("gets smaller", "get smaller"),
    "enter": ("enters the frame", "enter the frame"),
    "leave": ("leaves the frame", "leave the frame"),
}
MARGIN = 0.07  # frame sides by which a position must be beyond another to be called so, in every frame


@dataclass(frozen=True)
class Sentence:
    """One sentence of a video."""

    text: str
    kind: str  # one of KINDS: what decides it
    targets: tuple[int, ...]  # numbers of the objects meant; empty for a sentence without a target
    candidates: tuple[int, ...]  # objects that fit the sentence's words about looks


def plural(noun: str) -> str:
    """The plural of a noun phrase of this grammar ("red cross" -> "red crosses")."""
    return noun + ("es" if noun.endswith("s") else "s")


def _noun(thing: SceneObject, words: tuple[bool, bool, bool, bool]) -> str:
    size, texture, colour, shape = words
    parts = [thing.size] if size and thing.size != "medium" else []
    parts += [thing.texture] if texture else []
    parts += [thing.colour] if colour else []
    return " ".join(parts + [thing.shape if shape else "object"])


def _fits(thing: SceneObject, like: SceneObject, words: tuple[bool, bool, bool, bool]) -> bool:
    size, texture, colour, shape = words
    return (
        (not size or like.size == "medium" or (thing.size == like.size and thing.motion not in ("grow", "shrink")))
        and (not texture or thing.texture == like.texture)
        and (not colour or thing.colour == like.colour)
        and (not shape or thing.shape == like.shape)
    )


def nouns(scene: Scene) -> dict[str, tuple[int, ...]]:
    """Every noun phrase of looks that some object answers to, with all objects that do."""
    found: dict[str, tuple[int, ...]] = {}
    for thing in scene.things:
        for code in range(16):
            words = (bool(code & 1), bool(code & 2), bool(code & 4), bool(code & 8))
            if words[0] and (thing.size == "medium" or thing.motion in ("grow", "shrink")):
                continue
            found[_noun(thing, words)] = tuple(i for i, t in enumerate(scene.things) if _fits(t, thing, words))
    return found


def _appearance(scene: Scene, named: dict[str, tuple[int, ...]]) -> list[Sentence]:
    out = []
    for noun, who in named.items():
        if len(who) == 1 and noun != "object":
            out.append(Sentence(f"the {noun}", "appearance", who, who))
        elif 1 < len(who) < len(scene.things):
            out.append(Sentence(f"the {plural(noun)}", "appearance", who, who))
    return out


def _relation(scene: Scene, named: dict[str, tuple[int, ...]]) -> list[Sentence]:
    times = scene.times()
    where = np.stack([t.positions(times) for t in scene.things])  # [objects, frames, 2]
    radius = np.stack([t.radius * t.scales(times) for t in scene.things])
    gone = [i for i, t in enumerate(scene.things) if t.motion in ("enter", "leave")]
    out = []
    for noun, who in named.items():
        if len(who) < 2 or any(i in gone for i in who):
            continue
        if len(who) == 2:
            a, b = who
            for big, small in ((a, b), (b, a)):
                if (radius[big] > 1.2 * radius[small]).all():
                    out.append(Sentence(f"the larger of the two {plural(noun)}", "relation", (big,), who))
                    out.append(Sentence(f"the smaller of the two {plural(noun)}", "relation", (small,), who))
        for axis, low, high in ((0, "leftmost", "rightmost"), (1, "highest", "lowest")):
            for word, sign in ((low, 1.0), (high, -1.0)):
                best = min(who, key=lambda i: float(sign * where[i, :, axis].mean()))
                rest = [i for i in who if i != best]
                if all((sign * (where[i, :, axis] - where[best, :, axis]) > MARGIN).all() for i in rest):
                    out.append(Sentence(f"the {word} {noun}", "relation", (best,), who))
        out += _beside(where, named, noun, who, gone)
    return out


def _beside(
    where: np.ndarray, named: dict[str, tuple[int, ...]], noun: str, who: tuple[int, ...], gone: list[int]
) -> list[Sentence]:
    """Sentences such as "the square to the left of the red circle": one candidate there, the others not."""
    out = []
    for other, anchor in named.items():
        if len(anchor) != 1 or anchor[0] in who or anchor[0] in gone:
            continue
        for words, axis, sign in (
            ("to the left of", 0, 1.0),
            ("to the right of", 0, -1.0),
            ("above", 1, 1.0),
            ("below", 1, -1.0),
        ):
            ahead = sign * (where[anchor[0], :, axis][None] - where[list(who), :, axis])  # [candidates, frames]
            inside, outside = (ahead > MARGIN).all(1), (ahead < -MARGIN).all(1)
            if inside.sum() == 1 and (inside | outside).all():
                target = who[int(inside.argmax())]
                out.append(Sentence(f"the {noun} {words} the {other}", "relation", (target,), who))
    return out


def _headings(thing: SceneObject) -> set[str]:
    """Directions in which the object moves at some time."""
    if thing.motion == "turn":
        back = {"left": "right", "right": "left", "up": "down", "down": "up"}
        return {thing.heading, back[thing.heading]}
    return {h for h in (thing.heading, thing.second_heading) if h}


def motion_verdict(thing: SceneObject, predicate: str) -> bool | None:
    """Whether a motion predicate holds for an object; None when people could disagree."""
    if thing.motion == predicate:
        return True
    if predicate in DIRECTIONS:
        return None if predicate in _headings(thing) else False
    if predicate == "still":
        return None if thing.motion in ("grow", "shrink") else False
    if predicate in ("stop", "start") and thing.motion in ("enter", "leave"):
        return None
    return False


def _motion(scene: Scene, named: dict[str, tuple[int, ...]]) -> list[Sentence]:
    out = []
    for noun, who in named.items():
        if len(who) < 2:
            continue
        for predicate, (one, many) in MOTION_PHRASES.items():
            verdicts = [motion_verdict(scene.things[i], predicate) for i in who]
            yes = tuple(i for i, v in zip(who, verdicts, strict=True) if v)
            if not yes or None in verdicts or len(yes) == len(who):
                continue
            legs = {(scene.things[i].heading, scene.things[i].second_heading) for i in yes}
            if predicate == "bend" and len(legs) > 1:
                continue
            first, second = next(iter(legs))
            phrase = (one if len(yes) == 1 else many).format(first=first, second=second)
            subject = noun if len(yes) == 1 else plural(noun)
            out.append(Sentence(f"the {subject} that {phrase}", "motion", yes, who))
    return out


def _none(scene: Scene, named: dict[str, tuple[int, ...]], rng: np.random.Generator) -> list[Sentence]:
    """Sentences without a target, near misses included: a right colour with a wrong shape, a motion nobody makes."""
    out = []
    for _ in range(6):
        colour, shape = COLOURS[int(rng.integers(len(COLOURS)))], SHAPES[int(rng.integers(len(SHAPES)))]
        if rng.random() < 0.5:
            near = scene.things[int(rng.integers(len(scene.things)))]
            colour, shape = (near.colour, shape) if rng.random() < 0.5 else (colour, near.shape)
        noun = f"{colour} {shape}"
        if noun not in named:
            out.append(Sentence(f"the {noun}", "none", (), ()))
    for noun, who in named.items():
        size = noun.split(" ")[0]
        if size in SIZES:
            other = noun.replace(size, "large" if size == "small" else "small", 1)
            if other not in named and all(t.motion not in ("grow", "shrink") for t in scene.things):
                out.append(Sentence(f"the {other}", "none", (), ()))
        for predicate, (one, _) in MOTION_PHRASES.items():
            if predicate == "bend" or len(who) < 2 or rng.random() < 0.8:
                continue
            if all(motion_verdict(scene.things[i], predicate) is False for i in who):
                out.append(Sentence(f"the {noun} that {one}", "none", (), who))
    return out


def all_sentences(scene: Scene) -> dict[str, list[Sentence]]:
    """Every sentence of the grammar that is true of the scene, per kind; determined by the scene alone."""
    named = nouns(scene)
    rng = np.random.default_rng(scene.seed + 1)
    return {
        "appearance": _appearance(scene, named),
        "relation": _relation(scene, named),
        "motion": _motion(scene, named),
        "none": _none(scene, named, rng),
    }


def choose_sentences(
    scene: Scene, count: int, shares: dict[str, float], rng: np.random.Generator
) -> tuple[Sentence, ...]:
    """`count` sentences with kinds drawn by `shares` from those the scene offers; one is repeated if its kind has no other."""
    pool = all_sentences(scene) if count else {}
    chosen: list[Sentence] = []
    for _ in range(count):
        kinds = [k for k in KINDS if pool[k] and shares.get(k, 0.0) > 0.0]
        if not kinds:
            kinds = [k for k in KINDS if pool[k]]
        weights = np.array([shares.get(k, 0.0) + 1e-9 for k in kinds])
        options = pool[kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))]]
        fresh = [s for s in options if s not in chosen] or options
        # one object answers to many noun phrases: draw the target first, so that every object is asked for alike
        targets = sorted({s.targets for s in fresh})
        target = targets[int(rng.integers(len(targets)))]
        same = [s for s in fresh if s.targets == target]
        ease = np.array([_naturalness(s.text) for s in same])
        chosen.append(same[int(rng.choice(len(same), p=ease / ease.sum()))])
    return tuple(chosen)


def _naturalness(text: str) -> float:
    """How readily people would say it: they name shape and colour, and seldom say that something is plain."""
    coloured = any(colour in text for colour in COLOURS)
    return (0.12 if "object" in text else 1.0) * (0.2 if "plain" in text else 1.0) * (1.0 if coloured else 0.3)
