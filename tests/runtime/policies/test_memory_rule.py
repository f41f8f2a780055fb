"""Each rule against its sentence in the documentation, told anew over the whole past."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glus_edge.runtime.bundle.manifest import MemorySettings
from glus_edge.runtime.policies.memory_rule import MemoryRecord, MemoryRule, attended_steps, memory_rule
from glus_edge.runtime.policies.needs import Needs

SETTINGS = MemorySettings()


def run(name, frames, **options):
    """Memories read after each frame, oldest first."""
    rule, held, history = MemoryRule(name, **options), [], []
    for step, values in enumerate(frames):
        entry = rule.entry(MemoryRecord(step, **values), tuple(held))
        if entry is not None:
            held.append(entry)
        held = list(rule.kept(tuple(held), step, SETTINGS))
        history.append(list(held))
    return history


def steps(held):
    return [memory.step for memory in held]


@given(st.sampled_from(["reference", "confident", "present", "confident+present"]), st.integers(1, 60))
def test_where_every_frame_is_good_a_rule_reads_what_glus_reads(name, count):
    for step, held in enumerate(run(name, [{}] * count)):
        assert steps(held) == list(attended_steps(step + 1, SETTINGS))


ious = st.lists(st.sampled_from([0.1, 0.3, 0.5, 0.9]), min_size=1, max_size=60)


@given(ious)
def test_confident_reads_the_last_frame_and_good_ones_apart(values):
    """Brute force: walk over all frames so far, take a good one when the last taken is `stride` steps old."""
    for step, held in enumerate(run("confident", [{"predicted_iou": value} for value in values])):
        taken = []
        for earlier in range(step):
            if values[earlier] > 0.3 and (not taken or earlier - taken[-1] >= SETTINGS.stride):
                taken.append(earlier)
        assert steps(held) == [*taken[-(SETTINGS.slots - 1) :], step]


@given(st.lists(st.sampled_from([-2.0, 0.0, 0.1, 3.0]), min_size=1, max_size=60))
def test_present_never_holds_a_frame_without_the_object(scores):
    for step, held in enumerate(run("present", [{"object_score": score} for score in scores])):
        stored = [earlier for earlier in range(step + 1) if scores[earlier] > 0]
        assert steps(held)[-1:] == stored[-1:]
        assert set(steps(held)) <= set(stored)


@given(st.lists(st.tuples(st.sampled_from([0.7, 0.9]), st.sampled_from([0.5, 2.0]), st.booleans()), max_size=60))
@settings(deadline=None)
def test_anchors_stay_until_two_newer_ones_have_come(frames):
    values = [{"predicted_iou": iou, "object_score": score, "asked": asked} for iou, score, asked in frames]
    anchors = []
    for step, held in enumerate(run("anchors", values)):
        older = step - 1  # the newest frame is read anyway
        if older >= 0 and frames[older] == (0.9, 2.0, True) and (not anchors or older - anchors[-1] >= 6):
            anchors.append(older)
        assert set(anchors[-2:]) <= set(steps(held))
        assert len(held) <= SETTINGS.slots


def test_what_came_too_soon_behind_an_anchor_is_none_when_that_anchor_has_gone():
    anchor, other = {"predicted_iou": 0.9, "object_score": 2.0, "asked": True}, {"predicted_iou": 0.7}
    frames = [anchor if step in (11, 15, 19, 25) else other for step in range(28)]
    assert {19, 25} <= set(steps(run("anchors", frames)[-1]))


def test_an_anchor_is_read_long_after_recent_frames_have_gone():
    frames = [{"asked": True, "predicted_iou": 0.95}, *[{"predicted_iou": 0.5}] * 99]
    assert steps(run("anchors", frames)[-1])[0] == 0
    assert steps(run("confident", frames)[-1])[0] > 80


def test_distractors_keeps_four_frames_that_told_rivals_apart():
    frames = [{"contested": step in (3, 5, 10, 20, 30, 31, 40), "predicted_iou": 0.9} for step in range(90)]
    held = steps(run("distractors", frames)[-1])
    assert held[:4] == [10, 20, 30, 40]
    assert len(held) == SETTINGS.slots
    unusual = [{**frame, "growth": 1.5} for frame in frames]
    assert steps(run("distractors", unusual)[-1])[0] > 60


@given(st.sampled_from(["confident", "anchors", "distractors", "present"]), st.integers(2, 40))
def test_nothing_older_than_the_limit_is_read(name, oldest):
    frames = [{"asked": True, "contested": True}, *[{"predicted_iou": 0.1, "object_score": -1.0}] * 60]
    for step, held in enumerate(run(name, frames, oldest=oldest)):
        assert all(step + 1 - memory.step <= oldest for memory in held)


@pytest.mark.parametrize(
    ("name", "needs"),
    [
        ("reference", Needs.NOTHING),
        ("present", Needs.MASK_SIGNALS),
        ("confident+anchors+present", Needs.MASK_SIGNALS),
        ("confident+distractors", Needs.MASK_SIGNALS | Needs.ALTERNATIVE_MASKS),
    ],
)
def test_a_rule_needs_what_its_parts_need(name, needs):
    assert memory_rule(name).needs == needs
