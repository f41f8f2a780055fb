"""What the metric of a benchmark offers: values of one frame, figures of one sentence, averages over a set.

The three are pure functions of arrays, so that frames can be scored in another process and a stopped run can go on.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Truth = Mapping[str, NDArray[Any]]  # what a metric reads of one frame, by name; see each metric
Figures = dict[str, float]  # of one sentence, shares 0..1; every metric gives at least REGION and BOUNDARY

REGION, BOUNDARY = "J", "F"
NO_TARGET = "none"  # kind of a sentence that nothing in the video answers to
MASKS = "masks"  # of a Truth: bool [sentences, H, W], what each sentence means


class ScoredSentence(NamedTuple):
    """What an average is made of."""

    video: str
    key: str  # of the sentence in its video
    kind: str  # as the set names it; NO_TARGET where nothing is meant
    figures: Figures


class Metric(Protocol):
    """The metric of one benchmark, as its official evaluator computes it."""

    @property
    def joint(self) -> bool:
        """Whether `frame` needs the masks of all sentences of the video at once."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """Of the figures of one sentence."""
        ...

    def frame(self, masks: NDArray[np.bool_], truth: Truth) -> NDArray[np.float64]:
        """Values of one frame, [sentences, columns]: masks bool [sentences, H, W] against the truth of these sentences."""
        ...

    def figures(self, frames: NDArray[np.float64]) -> list[Figures]:
        """Figures of every sentence of a video from its frames' values, [F, sentences, columns]."""
        ...

    def averages(self, sentences: Sequence[ScoredSentence]) -> dict[str, float]:
        """What the set's table shows, in points 0..100, by name. A mean over nothing is left out."""
        ...


def of_sentences(truth: Truth, part: slice) -> Truth:
    """The truth of some of a video's sentences: arrays of three axes have one entry for each."""
    return {name: value[part] if value.ndim == 3 else value for name, value in truth.items()}


def mean_points(sentences: Sequence[ScoredSentence], prefix: str = "", names: Sequence[str] = ()) -> dict[str, float]:
    """J&F, J and F, then other figures, over sentences that weigh the same; in points, and {} where there are none."""
    if not sentences:
        return {}
    mean = {name: points(each.figures[name] for each in sentences) for name in (REGION, BOUNDARY, *names)}
    return {f"{prefix}J&F": (mean[REGION] + mean[BOUNDARY]) / 2} | {prefix + name: mean[name] for name in mean}


def points(values: Any) -> float:
    """100 times the mean of an iterable of shares."""
    return 100 * float(np.mean(list(values)))
