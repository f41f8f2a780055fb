"""The states of an object that may leave, frame by frame."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glus_edge.runtime.errors import InputError
from glus_edge.runtime.policies.lost_target import LOST_RULES, Suspend, TargetState, TargetVerdict, lost_rule
from glus_edge.runtime.policies.mask_signals import MaskSignals

GOOD, SURE = MaskSignals(0.7, 2.0, 0.9, 0.1), MaskSignals(0.9, 2.0, 0.9, 0.1)
BAD = (MaskSignals(0.2, 2.0, 0.9, 0.1), MaskSignals(0.9, 0.0, 0.9, 0.1), MaskSignals(0.9, 2.0, 0.0, 0.0))
SUSPEND = Suspend()


def run(seen, asked=False):
    """State and verdict after each frame."""
    state, history = TargetState(), []
    for signals in seen:
        state, verdict = SUSPEND.observe(state, signals, asked)
        history.append((state, verdict))
    return history


@given(st.lists(st.sampled_from([GOOD, SURE, *BAD]), max_size=40), st.booleans())
def test_never_changes_nothing_whatever_is_seen(seen, asked):
    for signals in seen:
        assert lost_rule("never").observe(TargetState(), signals, asked) == (TargetState(), TargetVerdict())
    assert not lost_rule("never").wants_question(TargetState(), 100, 1.0)


@pytest.mark.parametrize(("score", "visible"), [(0.1, True), (0.0, False), (-3.0, False)])
def test_hide_shows_no_mask_of_an_absent_object_and_remembers_as_ever(score, visible):
    _, verdict = lost_rule("hide").observe(TargetState(), MaskSignals(0.9, score, 1.0, 0.1), False)
    assert verdict == TargetVerdict(visible=visible)


@pytest.mark.parametrize("bad", BAD)
def test_a_suspect_mask_is_shown_and_not_remembered(bad):
    state, verdict = run([GOOD, bad])[-1]
    assert verdict == TargetVerdict(remember=False)
    assert (state.suspect, state.lost) == (1, False)
    assert not SUSPEND.wants_question(state, 4, 1.0)
    assert SUSPEND.wants_question(state, 5, 0.0)


@given(st.lists(st.booleans(), max_size=80))
def test_an_object_is_lost_after_its_patience_in_a_row_and_not_before(good):
    row, lost = 0, False
    for each, (state, verdict) in zip(good, run([GOOD if each else BAD[0] for each in good]), strict=True):
        row = 0 if each else row + 1
        lost = lost or row >= 15  # without a question it is never found again
        assert state.lost == lost
        assert verdict.visible == (not lost)
        assert verdict.remember == (each and not lost)


def test_a_lost_object_is_looked_for_rarely_or_when_the_scene_changes():
    lost = run([BAD[0]] * 15)[-1][0]
    assert not SUSPEND.wants_question(lost, 15, 0.35)
    assert SUSPEND.wants_question(lost, 16, 0.0)
    assert SUSPEND.wants_question(lost, 1, 0.36)


def test_it_is_found_when_an_answer_is_confirmed_on_a_second_frame_and_its_memory_restarts_there():
    lost = run([BAD[0]] * 15)[-1][0]
    assert SUSPEND.observe(lost, SURE, False)[0] == lost  # no question was asked
    answered, verdict = SUSPEND.observe(lost, SURE, True)
    assert verdict == TargetVerdict(visible=False, remember=False)
    assert not SUSPEND.wants_question(answered, 99, 1.0)
    assert SUSPEND.observe(answered, SURE, False) == (TargetState(), TargetVerdict(restart=True))
    assert SUSPEND.observe(answered, GOOD, False)[0] == lost


def test_a_name_that_is_no_rule_is_refused():
    assert [lost_rule(name).name for name in LOST_RULES] == list(LOST_RULES)
    with pytest.raises(InputError, match="lost: got 'forget', expected one of never, hide, suspend"):
        lost_rule("forget")
