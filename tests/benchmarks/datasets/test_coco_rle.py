"""Run-length masks against pycocotools, and against files that are none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from glus_edge.benchmarks.datasets.coco_rle import RunLengthError, mask_from_rle

# What pycocotools 2.0 encodes for the mask of the test that uses it.
COCO_TEXT = "f9S1i000000000000000000000000000000000000000000000000Rc0ROl]O00000000000000000\\O"

MASKS = st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(lambda shape: arrays(bool, shape))


def run_lengths(mask):
    runs, inside = [0], False
    for pixel in mask.T.flat:
        if pixel != inside:
            runs.append(0)
            inside = pixel
        runs[-1] += 1
    return runs


def compressed(runs):
    """COCO's text, from the definition: signed groups of five bits, low ones first, with a continuation bit."""
    text = ""
    for place, run in enumerate(runs):
        value = run - runs[place - 2] if place > 2 else run
        more = True
        while more:
            group, value = value & 31, value >> 5
            more = value != (-1 if group & 16 else 0)
            text += chr(48 + group + 32 * more)
    return text


@settings(deadline=None)
@given(MASKS)
def test_both_forms_give_back_the_mask(mask):
    runs = run_lengths(mask)
    for counts in (runs, compressed(runs)):
        assert np.array_equal(mask_from_rle({"size": list(mask.shape), "counts": counts}), mask)


def test_the_text_is_cocos():
    mask = np.zeros((60, 50), bool)
    mask[10:45, 5:30], mask[20:25, 40:] = True, True
    counts = compressed(run_lengths(mask))
    decoded = mask_from_rle({"size": [60, 50], "counts": counts})
    assert np.array_equal(decoded, mask)
    assert counts == COCO_TEXT


@pytest.mark.parametrize(
    "rle",
    [
        None,
        [],
        {},
        {"size": [2, 2]},
        {"size": [2], "counts": [4]},
        {"size": [2, -2], "counts": [4]},
        {"size": [2, True], "counts": [2]},
        {"size": [1 << 40, 1 << 40], "counts": [1 << 80]},
        {"size": [2, 2], "counts": [5]},
        {"size": [2, 2], "counts": [1, 2]},
        {"size": [2, 2], "counts": [9, -5]},
        {"size": [2, 2], "counts": [4.0]},
        {"size": [2, 2], "counts": "é"},
        {"size": [2, 2], "counts": "~"},
        {"size": [2, 2], "counts": "o" * 40},
        {"size": [2, 2], "counts": "P"},
        {"size": [2, 2], "counts": 4},
    ],
)
def test_what_is_no_mask_is_refused_in_one_line(rle):
    with pytest.raises(RunLengthError, match="expected") as caught:
        mask_from_rle(rle)
    assert "\n" not in str(caught.value)
