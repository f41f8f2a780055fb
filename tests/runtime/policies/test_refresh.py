from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glus_edge.runtime.errors import InputError
from glus_edge.runtime.policies.mask_signals import MaskSignals
from glus_edge.runtime.policies.named_rule import frames, rule_pattern
from glus_edge.runtime.policies.needs import Needs
from glus_edge.runtime.policies.refresh import RULES, Verify, refresh_rule, registered
from glus_edge.runtime.policies.refresh_rule import RefreshRule

share = st.floats(0, 1)
signals = st.lists(st.builds(MaskSignals, share, st.floats(-9, 9), share, share), max_size=3).map(tuple)


def good(iou=0.9, overlap=0.9):
    return (MaskSignals(iou, 1.0, overlap, 0.1),)


@given(st.integers(1, 100), signals, share)
def test_always_asks_before_every_frame_and_once_never_again(age, seen, change):
    assert refresh_rule("always").ask_before(age, seen, change)
    assert not refresh_rule("once").ask_before(age, seen, change)
    assert not refresh_rule("once").ask_after(age, seen)


@given(st.integers(1, 12), signals, share)
def test_every_asks_at_its_period_whatever_is_seen(period, seen, change):
    rule, ages, age = refresh_rule(f"every:{period}"), [], 0
    for frame in range(40):
        age += 1
        if frame == 0 or rule.ask_before(age, seen, change):
            ages.append(frame)
            age = 0
        assert not rule.ask_after(age, seen)
    assert ages == list(range(0, 40, period))


@given(signals, share, share)
def test_verify_asks_again_exactly_when_a_mask_is_not_trusted(seen, iou, overlap):
    rule = Verify(iou, overlap)
    trusted = all(each.predicted_iou > iou and each.overlap > overlap for each in seen)
    assert rule.ask_after(1, seen) != trusted
    assert not rule.ask_before(1, seen, 1.0)


@given(st.lists(st.tuples(share, share), min_size=1, max_size=3), share, st.integers(1, 5), st.integers(1, 60))
def test_drift_asks_again_when_surety_times_likeness_is_low_between_its_shortest_and_longest(
    seen, trust, shortest, age
):
    rule = refresh_rule(f"drift:{trust:.6f},{shortest},40")
    current = tuple(MaskSignals(iou, 1.0, 1.0, 0.1, likeness=likeness) for iou, likeness in seen)
    wrong = [iou * likeness <= rule.trust for iou, likeness in seen]
    assert rule.ask_after(age, current) == (any(wrong) and age >= shortest)
    assert rule.ask_before(age, (), 1.0) == (age >= 40)


@given(st.lists(st.tuples(share, st.integers(0, 9)), min_size=1, max_size=40), st.integers(1, 4))
def test_drift_over_a_run_asks_as_a_model_on_paper_does(frames, shortest):
    """Areas in pixels of a run's masks, which here do not depend on what is asked."""
    rule, asked, reference, age = refresh_rule(f"drift:0.4,{shortest},7"), [0], frames[0][1], 0
    wanted, last = [0], 0
    for number, (iou, area) in enumerate(frames[1:], 1):
        age += 1
        likeness = 1.0 if area == reference else min(area, reference) / max(area, reference)
        signals = (MaskSignals(iou, 0.0, 0.0, area / 100, likeness=likeness),)
        if rule.ask_before(age, signals, 0.0) or rule.ask_after(age, signals):
            asked.append(number)
            reference, age = area, 0
        before = frames[last][1]
        small, large = sorted((area, before))
        drifted = iou * (small / large if large else 1.0) <= 0.4
        if number - last >= 7 or (number - last >= shortest and drifted):
            wanted.append(number)
            last = number
    assert asked == wanted


def test_previous_looks_at_the_frame_before():
    rule = refresh_rule("previous")
    assert rule.ask_before(1, good(iou=0.7), 0.0)
    assert not rule.ask_before(1, good(iou=0.71), 0.0)


def test_scene_asks_when_the_colours_change():
    rule = refresh_rule("scene:0.5")
    assert rule.ask_before(1, good(), 0.51)
    assert not rule.ask_before(1, good(), 0.5)


@given(st.integers(1, 60), signals, share)
def test_adaptive_waits_its_shortest_and_never_passes_its_longest(age, seen, change):
    rule = refresh_rule("adaptive")
    asked = rule.ask_before(age, seen, change) or rule.ask_after(age, seen)
    if age < rule.shortest:
        assert not asked
    if age >= rule.longest:
        assert asked


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("every:7", "every", 7),
        ("verify:0.5", "iou", 0.5),
        ("verify:0.5,0.1", "overlap", 0.1),
        ("previous", "iou", 0.7),
        ("adaptive:0.8,0.2,0.4,12", "longest", 12),
        ("verify", "iou", 0.8),
        ("drift", "shortest", 1),
        ("drift:0.2", "longest", 8),
        ("drift:0.2,3", "shortest", 3),
        ("drift:0.2,3,9", "longest", 9),
        ("adaptive", "shortest", 2),
        ("memoryless:0.2", "period", 4),
    ],
)
def test_settings_follow_a_rules_name(text, field, value):
    assert getattr(refresh_rule(text), field) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sometimes",
        "every:0",
        "every:1.5",
        "every:x",
        "verify:2",
        "verify:0.1,0.2,0.3",
        "once:3",
        "verify:nan",
        "drift:0.2,0",
        "verify:",
        "verify:0.1,",
    ],
)
def test_what_is_no_rule_is_refused_in_one_line(text):
    with pytest.raises(InputError, match="refresh: ") as caught:
        refresh_rule(text)
    assert "\n" not in str(caught.value)


def test_every_rule_is_reachable_by_its_name():
    assert all(refresh_rule(name).name == name for name in RULES)


def test_a_new_rule_is_one_class():
    @registered
    @dataclass(frozen=True)
    class Odd(RefreshRule):
        name = "odd"
        most: int = frames(3)

        def ask_before(self, age, previous, scene_change):
            return age % 2 == 1 and age <= self.most

    try:
        rule = refresh_rule("odd:5")
        assert [age for age in range(8) if rule.ask_before(age, (), 0.0)] == [1, 3, 5]
        assert rule_pattern("odd", RULES["odd"]) == "odd:most"
    finally:
        del RULES["odd"]


@pytest.mark.parametrize("name", sorted(RULES))
@given(age=st.integers(1, 60), seen=signals, change=share)
def test_a_rule_decides_alike_without_what_it_does_not_need(name, age, seen, change):
    rule = refresh_rule(name)
    told = seen if Needs.MASK_SIGNALS in rule.needs else ()
    moved = change if Needs.SCENE_CHANGE in rule.needs else 0.0
    assert rule.ask_before(age, seen, change) == rule.ask_before(age, told, moved)
    assert rule.ask_after(age, seen) == rule.ask_after(age, told)
    assert Needs.MASK_SIGNALS in rule.needs or not rule.looks_without_memory(age)


def test_a_rule_of_ones_own_is_shown_everything_unless_it_says_otherwise():
    assert RefreshRule().needs == Needs.MASK_SIGNALS | Needs.SCENE_CHANGE
