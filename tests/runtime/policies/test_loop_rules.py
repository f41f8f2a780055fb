import pytest

from glus_edge.runtime.errors import InputError
from glus_edge.runtime.policies.loop_rules import PRESETS, LoopChoice, LoopRules, loop_choice
from glus_edge.runtime.policies.needs import Needs
from glus_edge.runtime.policies.refresh_rule import RefreshRule
from glus_edge.runtime.policies.window import WINDOW_POLICIES


def test_exact_is_the_references_way_and_needs_no_signals():
    choice = loop_choice("exact", None, None, None, None)
    assert choice == LoopChoice("exact", "always", "reference", "never")
    assert choice.rules() == LoopRules()
    assert choice.rules().needs == Needs.NOTHING


def test_every_preset_names_rules_that_exist():
    for choice in PRESETS.values():
        assert choice.policy in WINDOW_POLICIES
        choice.rules()


def test_what_is_given_replaces_a_presets_part_and_no_other():
    choice = loop_choice("balanced", "rolling", None, None, "never")
    assert (choice.policy, choice.lost) == ("rolling", "never")
    assert (choice.refresh, choice.memory) == (PRESETS["balanced"].refresh, PRESETS["balanced"].memory)


@pytest.mark.parametrize(
    ("choice", "needs"),
    [
        (LoopChoice(refresh="every:5"), Needs.NOTHING),
        (LoopChoice(refresh="once"), Needs.NOTHING),
        (LoopChoice(refresh="verify"), Needs.MASK_SIGNALS),
        (LoopChoice(refresh="scene"), Needs.SCENE_CHANGE),
        (LoopChoice(lost="suspend"), Needs.MASK_SIGNALS | Needs.SCENE_CHANGE),
        (LoopChoice(refresh="every:5", memory="anchors", lost="hide"), Needs.MASK_SIGNALS),
        (
            LoopChoice(refresh="scene", memory="distractors"),
            Needs.MASK_SIGNALS | Needs.ALTERNATIVE_MASKS | Needs.SCENE_CHANGE,
        ),
    ],
)
def test_what_any_rule_needs_is_computed_and_nothing_else(choice, needs):
    assert choice.rules().needs == needs


@pytest.mark.parametrize("refresh", [RefreshRule, 5, None])
def test_what_is_no_rule_of_ones_own_is_refused(refresh):
    with pytest.raises(InputError, match="refresh: got .* expected a rule's name or an instance of a RefreshRule"):
        LoopChoice(refresh=refresh).rules()


@pytest.mark.parametrize(
    ("names", "said"),
    [(("quick", None, None, None, None), "preset: got 'quick'"), (("exact", None, None, "", None), "memory: got ''")],
)
def test_what_is_no_choice_is_refused(names, said):
    with pytest.raises(InputError, match=said):
        loop_choice(*names).rules()
