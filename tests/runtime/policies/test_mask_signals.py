import numpy as np
import pytest

from glus_edge.runtime.policies.mask_signals import MaskSignalReader, agreement, contested, overlap


def logits(*boxes, side=20):
    """[masks, 1, side, side], positive inside each box (top, left, bottom, right); None: empty."""
    maps = np.full((len(boxes), 1, side, side), -1.0, np.float32)
    for row, box in zip(maps, boxes, strict=True):
        if box:
            row[0, box[0] : box[2], box[1] : box[3]] = 1.0
    return maps


def read(reader, maps, **more):
    return reader.read(maps, np.full(len(maps), 0.5, np.float32), np.full(len(maps), 3.0, np.float32), **more)


def test_overlap_is_with_the_frame_before_whatever_was_decoded_in_between():
    reader = MaskSignalReader(1)
    assert read(reader, logits((0, 0, 10, 10)))[0].overlap == 1.0  # no frame before
    reader.observe(logits((0, 0, 10, 10)))
    read(reader, logits((10, 10, 20, 20)))
    assert read(reader, logits((0, 0, 10, 5)))[0].overlap == 0.5


def test_growth_is_over_the_median_of_the_last_ten_areas():
    reader = MaskSignalReader(1)
    assert read(reader, logits((0, 0, 4, 4)))[0].growth == 1.0
    for side in [20] * 10 + [2] * 6 + [10] * 4:
        reader.observe(logits((0, 0, side, side)))
    assert read(reader, logits((0, 0, 2, 2)))[0].growth == 1.0  # six of the last ten are that small
    empty = MaskSignalReader(1)
    empty.observe(logits(None))
    assert read(empty, logits((0, 0, 2, 2)))[0].growth == 1.0


@pytest.mark.parametrize(
    ("asked", "now", "likeness"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 5), 0.5),
        ((0, 0, 10, 5), (10, 10, 20, 20), 0.5),
        ((0, 0, 10, 10), None, 0.0),
        (None, (0, 0, 10, 10), 0.0),
        (None, None, 1.0),
    ],
)
def test_likeness_is_in_size_to_the_mask_of_the_frame_asked_about_last(asked, now, likeness):
    reader = MaskSignalReader(1)
    assert read(reader, logits(now))[0].likeness == 1.0  # nothing was asked
    reader.observe(logits(asked), asked=True)
    for box in ((0, 0, 2, 2), None, (0, 0, 20, 20)):
        reader.observe(logits(box), asked=False)
    assert read(reader, logits(now))[0].likeness == likeness
    assert read(reader.select((0,)), logits(now))[0].likeness == likeness


def test_each_sentence_has_its_own_past_and_takes_it_along():
    reader = MaskSignalReader(2)
    reader.observe(logits((0, 0, 10, 10), (10, 10, 20, 20)))
    other = reader.select((1,))
    reader.observe(logits(None, None))
    (signals,) = read(other, logits((10, 10, 20, 15)))
    assert (signals.overlap, signals.growth) == (0.5, 0.5)
    assert signals.area == pytest.approx(50 / 400)


def test_signals_that_need_more_masks_are_read_when_these_are_given():
    maps = logits((0, 0, 10, 10))
    plain = read(MaskSignalReader(1), maps)[0]
    assert (plain.contested, plain.agreement) == (False, 1.0)
    rivals = np.concatenate([maps, maps, maps, logits((10, 10, 20, 20))], axis=1)
    full = read(MaskSignalReader(1), maps, all_mask_logits=rivals, without_memory=logits((0, 5, 10, 20)))[0]
    assert (full.contested, full.agreement) == (True, 0.5)


def test_masks_are_compared_by_what_they_share():
    one, half, none = (logits(box)[0, 0] > 0 for box in ((0, 0, 10, 10), (0, 0, 10, 5), None))
    assert (overlap(one, half), overlap(none, none), overlap(one, none)) == (0.5, 1.0, 0.0)
    assert (agreement(one, half), agreement(none, none), agreement(one, none)) == (1.0, 1.0, 0.0)
    assert contested(one, np.stack([one, half]))
    assert not contested(one, np.stack([one, none]))
    assert not contested(none, np.stack([one]))
