"""Generated referring video: frames, sentences and a mask per sentence and frame, from a seed."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from glus_edge.training.data.render import render
from glus_edge.training.data.scene import Difficulty, Scene
from glus_edge.training.data.scene_sampling import draw_scene
from glus_edge.training.data.sentences import Sentence, choose_sentences

DEFAULT_SHARES = {"appearance": 0.35, "relation": 0.2, "motion": 0.35, "none": 0.1}


@dataclass(frozen=True)
class VideoSet:
    """A set of generated videos: fixed, and disjoint from every other by its seeds."""

    first_seed: int
    videos: int
    size: int  # side of the square frames, pixels
    sentences: int  # per video
    difficulty: Difficulty = field(default_factory=Difficulty)


# Training draws seeds below 2**40; these lie above.
HELD_OUT = VideoSet(first_seed=2**41, videos=200, size=160, sentences=5)
VALIDATION = VideoSet(first_seed=2**42, videos=64, size=160, sentences=5)
SETS = {"heldout": HELD_OUT, "validation": VALIDATION}


@dataclass(frozen=True)
class GeneratedVideo:
    """One video with its sentences."""

    scene: Scene
    frame_numbers: NDArray[np.int64]  # [F] which frames of the scene these are
    frames: NDArray[np.uint8]  # [F, size, size, 3] RGB
    owners: NDArray[np.uint8]  # [F, size, size] 0 background, i + 1 object i
    sentences: tuple[Sentence, ...]

    def masks(self) -> NDArray[np.bool_]:
        """Visible pixels of what each sentence means, [sentences, F, size, size]."""
        table = np.zeros((len(self.sentences), len(self.scene.things) + 1), np.bool_)
        for number, sentence in enumerate(self.sentences):
            table[number, [target + 1 for target in sentence.targets]] = True
        return table[:, self.owners]

    def kinds(self) -> tuple[str, ...]:
        """What decides each sentence: "appearance", "relation", "motion", or "none" when nothing is meant."""
        return tuple(sentence.kind for sentence in self.sentences)


def generate_video(
    seed: int,
    *,
    size: int = 160,
    sentences: int = 5,
    shares: dict[str, float] | None = None,
    difficulty: Difficulty | None = None,
    frames: NDArray[np.int64] | None = None,
) -> GeneratedVideo:
    """A video determined by its arguments alone.

    Args:
        seed: decides the scene, the painting and the choice of sentences.
        size: side of the square frames, pixels.
        sentences: how many to choose.
        shares: how often each kind of sentence is drawn; by default `DEFAULT_SHARES`.
        difficulty: see `Difficulty`.
        frames: the frame numbers to paint, all by default.

    Returns:
        Frames uint8 RGB, with `masks()` and `kinds()` per sentence.
    """
    difficulty = Difficulty() if difficulty is None else difficulty
    scene = draw_scene(seed, difficulty)
    chosen = choose_sentences(scene, sentences, shares or DEFAULT_SHARES, np.random.default_rng(seed + 7))
    numbers = np.arange(scene.frames) if frames is None else frames
    images, owners = render(scene, numbers, size, difficulty)
    return GeneratedVideo(scene, numbers, images, owners, chosen)


def generate_set(which: VideoSet, number: int) -> GeneratedVideo:
    """Video `number` (from 0) of a fixed set."""
    return generate_video(
        which.first_seed + number * 1000, size=which.size, sentences=which.sentences, difficulty=which.difficulty
    )
