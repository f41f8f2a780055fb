"""J and F against definitions written out pixel by pixel."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from glus_edge.benchmarks.metrics.j_and_f import boundary_accuracy, boundary_map, region_similarity

SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 12))
PAIRS = SHAPES.flatmap(lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape)))


def brute_boundary(mask):
    height, width = mask.shape
    found = set()
    for y in range(height):
        for x in range(width):
            below, right = min(y + 1, height - 1), min(x + 1, width - 1)
            if any(mask[y, x] != mask[at] for at in ((y, right), (below, x), (below, right))):
                found.add((y, x))
    return found


def brute_f(mask, truth, radius):
    found, wanted = brute_boundary(mask), brute_boundary(truth)
    if not found and not wanted:
        return 1.0
    if not found or not wanted:
        return 0.0

    def near(points, others):
        return sum(any((y - v) ** 2 + (x - u) ** 2 <= radius**2 for v, u in others) for y, x in points)

    precision, recall = near(found, wanted) / len(found), near(wanted, found) / len(wanted)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@settings(deadline=None)
@given(PAIRS)
def test_j_is_the_intersection_over_the_union(pair):
    mask, truth = pair
    union = sum(bool(a or b) for a, b in zip(mask.flat, truth.flat, strict=True))
    both = sum(bool(a and b) for a, b in zip(mask.flat, truth.flat, strict=True))
    assert region_similarity(mask, truth) == (both / union if union else 1.0)


@settings(deadline=None)
@given(PAIRS)
def test_the_boundary_is_where_a_pixel_differs_from_its_next_neighbours(pair):
    mask, _ = pair
    assert set(zip(*map(np.ndarray.tolist, np.nonzero(boundary_map(mask))), strict=True)) == brute_boundary(mask)


@settings(deadline=None)
@given(PAIRS)
def test_f_counts_boundary_pixels_with_a_partner_nearby(pair):
    mask, truth = pair
    radius = math.ceil(0.008 * math.hypot(*mask.shape))
    assert boundary_accuracy(mask, truth) == pytest.approx(brute_f(mask, truth, radius))


@pytest.mark.parametrize(("shift", "matches"), [(3, True), (4, False)])
def test_the_tolerance_is_a_share_of_the_diagonal(shift, matches):
    truth, mask = np.zeros((200, 300), bool), np.zeros((200, 300), bool)
    truth[:, 100:], mask[:, 100 + shift :] = True, True  # 0.008 * 360.6 = 2.9: up to 3 pixels
    assert boundary_accuracy(mask, truth) == float(matches)


def test_two_empty_masks_agree_and_an_empty_one_agrees_with_no_other():
    empty, full = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    full[5:9, 5:9] = True
    assert region_similarity(empty, empty) == boundary_accuracy(empty, empty) == 1.0
    for mask, truth in ((empty, full), (full, empty)):
        assert region_similarity(mask, truth) == boundary_accuracy(mask, truth) == 0.0


@settings(deadline=None)
@given(PAIRS)
def test_both_scores_are_symmetric_and_perfect_for_equal_masks(pair):
    mask, truth = pair
    for score in (region_similarity, boundary_accuracy):
        assert score(mask, truth) == pytest.approx(score(truth, mask))
        assert score(mask, mask) == 1.0
