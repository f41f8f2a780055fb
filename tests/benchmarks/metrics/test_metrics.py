"""Each benchmark's metric against its evaluator's steps, written out plainly, and by hand for every trap."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from glus_edge.benchmarks.metrics.expression_metric import ExpressionMetric
from glus_edge.benchmarks.metrics.j_and_f import boundary_accuracy, region_similarity
from glus_edge.benchmarks.metrics.long_rvos import LongRvosMetric, temporal_overlap
from glus_edge.benchmarks.metrics.metric import MASKS, ScoredSentence
from glus_edge.benchmarks.metrics.mevis_v2 import MevisV2Metric
from glus_edge.benchmarks.metrics.ref_davis17 import OBJECTS, RefDavis17Metric, merge_objects
from glus_edge.benchmarks.metrics.revos import COUNTS, FOREGROUND, RevosMetric, pixel_accuracy, robustness
from tests.benchmarks.sets import ONE, SIZE, TWO, box

EMPTY = np.zeros(SIZE, bool)


def over_frames(metric, masks, truths):
    """Figures of a video: masks [F, sentences, H, W] and one truth a frame."""
    frames = np.stack([metric.frame(each, truth) for each, truth in zip(masks, truths, strict=True)])
    return metric.figures(frames)


def scored(kinds, figures):
    return [
        ScoredSentence("v", str(key), kind, each) for key, (kind, each) in enumerate(zip(kinds, figures, strict=True))
    ]


def test_expressions_are_means_over_frames_and_then_over_sentences():
    metric = ExpressionMetric()
    masks = np.stack([[one, EMPTY] for one in ONE])
    figures = over_frames(metric, masks, [{MASKS: np.stack([one, two])} for one, two in zip(ONE, TWO, strict=True)])
    assert figures == [{"J": 1.0, "F": 1.0}, {"J": 0.0, "F": 0.0}]
    averages = metric.averages(scored(["", ""], figures))
    assert averages == {"J&F": 50.0, "J": 50.0, "F": 50.0}
    assert metric.averages(scored(["", "none"], figures))["J"] == 100.0
    assert metric.averages([]) == {}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_means_are_numpys_of_a_row_bit_for_bit(values):
    frames = np.zeros((len(values), 3, 2))
    frames[:, 1, 0] = values
    assert ExpressionMetric().figures(frames)[1]["J"] == np.array(values).mean()


def test_mevis_v2_rewards_silence_where_nothing_is_meant():
    metric = MevisV2Metric()
    truth = {MASKS: np.stack([ONE[0], EMPTY, EMPTY])}
    one_frame_drawn = [np.stack([ONE[0], EMPTY, EMPTY]), np.stack([ONE[0], EMPTY, TWO[0]])]
    figures = over_frames(metric, one_frame_drawn, [truth, truth])
    assert [each["J"] for each in figures] == [1.0, 1.0, 0.5]
    averages = metric.averages(scored(["", "none", "none"], figures))
    assert (averages["N-acc"], averages["T-acc"]) == (50.0, 100.0)
    assert averages["J"] == pytest.approx(100 * 2.5 / 3)
    assert averages["with a target: J"] == 100.0
    silent = over_frames(metric, [np.stack([EMPTY] * 3)], [truth])
    assert metric.averages(scored(["", "none", "none"], silent))["T-acc"] == 0.0


def test_revos_accuracy_and_robustness_by_hand():
    truth, mask = box(0, 4, 0, 5).astype(np.uint8), box(0, 4, 1, 6)  # 4 pixels too many, 4 too few, of 240
    assert pixel_accuracy(mask, truth) == (240 - 8) / 240
    assert robustness(mask, truth, 20) == 1 - 4 / (20 + 1e-6)
    assert robustness(mask, truth, 0) == 0.0


def test_revos_reads_overlapping_annotations_in_bytes_as_its_evaluator_does():
    count = 2 * box(0, 2, 0, 2).astype(np.uint8)
    assert pixel_accuracy(count > 0, count) == (240 - 4) / 240
    assert robustness(count > 0, count, 2000) == 1 - 4 * 255 / (2000 + 1e-6)
    metric = RevosMetric()
    row = metric.frame((count > 0)[None], {MASKS: (count > 0)[None], COUNTS: count[None], FOREGROUND: count})
    assert row[0, :2].tolist() == [1.0, 1.0]


def test_revos_rounds_before_it_averages_and_weighs_both_kinds_alike():
    values = [("referring", 0.10004), ("referring", 0.10004), ("reasoning", 0.5), ("none", 0.9)]
    sentences = [
        ScoredSentence("v", str(key), kind, {"J": value, "F": value, "A": value, "R": value})
        for key, (kind, value) in enumerate(values)
    ]
    averages = RevosMetric().averages(sentences)
    assert averages["referring: J"] == 10.0  # not 10.004
    assert averages["overall: J&F"] == 30.0
    assert "overall: J" not in RevosMetric().averages(sentences[:2])


def test_long_rvos_overlaps_in_time_and_space():
    region = np.array([0.5, 1.0, 0.0, 1.0])
    found, wanted = np.array([True, True, True, False]), np.array([True, True, False, False])
    assert temporal_overlap(region, found, wanted) == {"tIoU": 2 / 3, "vIoU": 0.5}
    assert temporal_overlap(region[3:], found[3:], wanted[3:]) == {"tIoU": 1.0, "vIoU": 1.0}
    metric = LongRvosMetric()
    masks = [np.stack([ONE[0]]), np.stack([ONE[1]]), np.stack([EMPTY])]
    truth = [{MASKS: np.stack([each])} for each in (ONE[0], EMPTY, EMPTY)]
    (figures,) = over_frames(metric, masks, truth)
    assert (figures["tIoU"], figures["vIoU"]) == (0.5, 0.5)
    averages = metric.averages(scored(["static", "dynamic"], [figures, figures | {"J": 1.0}]))
    assert averages["static: vIoU"] == 50.0
    assert averages["overall: J"] == pytest.approx(100 * (figures["J"] + 1) / 2)
    assert "hybrid: J" not in averages


def test_davis_matches_results_to_objects_and_leaves_void_out():
    metric = RefDavis17Metric()
    objects = (ONE[0] + 2 * TWO[0]).astype(np.uint8)
    objects[0, :] = 255
    masks = np.zeros((1, 8, *SIZE), bool)
    masks[0, :4], masks[0, 4:] = TWO[0], ONE[0] | box(0, 1, 0, 20)  # swapped, with a line in the void
    figures = over_frames(metric, masks, [{OBJECTS: objects}])
    assert figures == [{"J": 1.0, "F": 1.0}] * 8
    averages = metric.averages(scored([""] * 8, figures))
    assert averages["J&F"] == averages["annotator 3: J"] == 100.0


def test_davis_averages_annotators_apart():
    metric = RefDavis17Metric()
    objects = (ONE[0] + 2 * TWO[0]).astype(np.uint8)
    masks = np.zeros((1, 8, *SIZE), bool)
    masks[0, 2], masks[0, 6] = ONE[0], TWO[0]  # annotator 2 alone has masks
    averages = metric.averages(scored([""] * 8, over_frames(metric, masks, [{OBJECTS: objects}])))
    assert averages["annotator 2: J&F"] == 100.0
    assert averages["annotator 0: J&F"] == 0.0
    assert averages["J&F"] == 25.0


def test_davis_gives_overlapping_pixels_to_the_lower_object():
    merged = merge_objects(np.stack([box(0, 4, 0, 4), box(2, 6, 2, 6)]))
    assert merged[3, 3] == 1
    assert merged[5, 5] == 2


def test_first_and_last_frames_count_in_davis():
    metric = RefDavis17Metric()
    truth = [{OBJECTS: one.astype(np.uint8)} for one in ONE]
    masks = np.zeros((3, 4, *SIZE), bool)
    masks[1] = ONE[1]
    assert [each["J"] for each in over_frames(metric, masks, truth)] == [pytest.approx(1 / 3)] * 4


def plain_j(mask, truth):
    union = np.sum(mask | truth)
    return 1 if np.isclose(union, 0) else np.sum(mask & truth) / union


def plain_f(mask, truth):
    """The DAVIS evaluator's steps: boundary maps, dilation by a disc, precision and recall."""

    def boundary(seg):
        right, below, diagonal = np.zeros_like(seg), np.zeros_like(seg), np.zeros_like(seg)
        right[:, :-1], below[:-1], diagonal[:-1, :-1] = seg[:, 1:], seg[1:], seg[1:, 1:]
        edges = (seg ^ right) | (seg ^ below) | (seg ^ diagonal)
        edges[-1], edges[:, -1] = seg[-1] ^ right[-1], seg[:, -1] ^ below[:, -1]
        edges[-1, -1] = False
        return edges

    def dilated(edges, radius):
        wide = np.zeros_like(edges)
        for y, x in zip(*np.nonzero(edges), strict=True):
            for v in range(max(0, y - radius), min(edges.shape[0], y + radius + 1)):
                for u in range(max(0, x - radius), min(edges.shape[1], x + radius + 1)):
                    wide[v, u] |= (v - y) ** 2 + (u - x) ** 2 <= radius**2
        return wide

    radius = math.ceil(0.008 * np.linalg.norm(mask.shape))
    found, wanted = boundary(mask), boundary(truth)
    if not found.any() or not wanted.any():
        return float(found.any() == wanted.any())
    precision = np.sum(found & dilated(wanted, radius)) / float(np.sum(found))
    recall = np.sum(wanted & dilated(found, radius)) / float(np.sum(wanted))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


SHAPES = st.sampled_from([(1, 1), (1, 30), (9, 1), (12, 20), (5, 140)])  # the last one has a radius of 2
PAIRS = SHAPES.flatmap(lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape)))


@settings(deadline=None, max_examples=60)
@given(PAIRS)
def test_j_and_f_equal_the_evaluators_steps_bit_for_bit(pair):
    mask, truth = pair
    assert region_similarity(mask, truth) == plain_j(mask, truth)
    assert boundary_accuracy(mask, truth) == plain_f(mask, truth)


def test_masks_that_are_no_blocks_of_memory_score_the_same():
    mask, truth = box(2, 9, 3, 11)[::-1], np.asfortranarray(box(2, 9, 4, 12))
    assert boundary_accuracy(mask, truth) == plain_f(mask, truth)
