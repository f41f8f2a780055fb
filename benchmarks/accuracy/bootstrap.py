"""Is one run better than another? A paired bootstrap that draws whole videos."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

Key = tuple[str, str]  # video and sentence

RESAMPLES = 10_000


class PairedDifference(NamedTuple):
    """How far the first run lies above the second."""

    mean: float  # over the sentences both have, in the units of the scores
    low: float  # 2.5th percentile over resamples
    high: float  # 97.5th percentile
    sentences: int
    videos: int


def paired_bootstrap(
    first: Mapping[Key, float], second: Mapping[Key, float], resamples: int = RESAMPLES, seed: int = 0
) -> PairedDifference:
    """Compares scores of the same sentences. Sentences of one video share its frames, so videos are what is drawn.

    Raises ValueError where the two have no sentence in common.
    """
    common = sorted(first.keys() & second.keys())
    if not common:
        raise ValueError("got two runs without a common sentence, expected runs over the same videos")
    videos = sorted({video for video, _ in common})
    place = {video: number for number, video in enumerate(videos)}
    sums, counts = np.zeros(len(videos)), np.zeros(len(videos))
    for key in common:
        sums[place[key[0]]] += first[key] - second[key]
        counts[place[key[0]]] += 1
    draws = np.random.default_rng(seed).multinomial(len(videos), np.full(len(videos), 1 / len(videos)), resamples)
    means = (draws @ sums) / (draws @ counts)
    low, high = np.percentile(means, (2.5, 97.5))
    return PairedDifference(
        mean=float(sums.sum() / counts.sum()),
        low=float(low),
        high=float(high),
        sentences=len(common),
        videos=len(videos),
    )
