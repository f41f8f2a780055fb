import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glus_edge.benchmarks.policies.ranking import roc_auc, spearman

scored = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), max_size=30)


@given(scored)
def test_the_roc_area_is_the_share_of_pairs_in_the_right_order(pairs):
    good = [score for score, positive in pairs if positive]
    bad = [score for score, positive in pairs if not positive]
    area = roc_auc([score for score, _ in pairs], [positive for _, positive in pairs])
    if not good or not bad:
        assert area is None
        return
    wins = sum((one > other) + 0.5 * (one == other) for one in good for other in bad)
    assert area == pytest.approx(wins / (len(good) * len(bad)))


def test_spearman_sees_order_and_not_size():
    values = np.array([1.0, 2.0, 3.0, 4.0])
    assert spearman(values, values**5) == pytest.approx(1.0)
    assert spearman(values, -np.exp(values)) == pytest.approx(-1.0)
    # by hand: ranks 1 2.5 2.5 4 against 1 2 3 4
    assert spearman([1, 2, 2, 9], values) == pytest.approx(4.5 / np.sqrt(4.5 * 5))


def test_what_does_not_vary_has_no_correlation():
    assert spearman([1, 1, 1], [1, 2, 3]) is None
    assert spearman([], []) is None
