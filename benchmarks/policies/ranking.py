"""Does a signal rank what it should? Spearman's correlation and the area under the ROC curve."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def spearman(first: ArrayLike, second: ArrayLike) -> float | None:
    """Spearman's rank correlation, -1..1; None where either does not vary."""
    one, other = (_ranks(np.asarray(values, np.float64)) for values in (first, second))
    if not one.size or one.std() == 0 or other.std() == 0:
        return None
    return float(np.corrcoef(one, other)[0, 1])


def roc_auc(scores: ArrayLike, positive: ArrayLike) -> float | None:
    """The chance that a positive scores above a negative, ties counting half; None where there are not both."""
    ranks, chosen = _ranks(np.asarray(scores, np.float64)), np.asarray(positive, np.bool_)
    positives = int(chosen.sum())
    negatives = len(chosen) - positives
    if not positives or not negatives:
        return None
    above = float(ranks[chosen].sum()) - positives * (positives + 1) / 2
    return above / (positives * negatives)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """From 1; equal values share the mean of their ranks."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: NDArray[np.float64] = (last - (counts - 1) / 2)[place]
    return ranks
