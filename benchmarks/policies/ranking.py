"""Does a signal rank what it should? Spearman's correlation and the area under the ROC curve."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata, spearmanr


def spearman(first: ArrayLike, second: ArrayLike) -> float | None:
    """Spearman's rank correlation, -1..1; None where either does not vary."""
    one, other = (np.asarray(values, np.float64) for values in (first, second))
    if not one.size or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(spearmanr(one, other).statistic)


def roc_auc(scores: ArrayLike, positive: ArrayLike) -> float | None:
    """The chance that a positive scores above a negative, ties counting half; None where there are not both."""
    ranks, chosen = rankdata(np.asarray(scores, np.float64)), np.asarray(positive, np.bool_)
    positives = int(chosen.sum())
    negatives = len(chosen) - positives
    if not positives or not negatives:
        return None
    above = float(ranks[chosen].sum()) - positives * (positives + 1) / 2  # Mann and Whitney's U
    return above / (positives * negatives)
