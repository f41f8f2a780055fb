import pytest

from glus_edge.runtime.errors import InputError
from glus_edge.runtime.policies.loop_rules import PRESETS, LoopChoice, LoopRules, loop_choice
from glus_edge.runtime.policies.window import POLICIES


def test_exact_is_the_references_way_and_needs_no_signals():
    choice = loop_choice("exact", None, None, None, None)
    assert choice == LoopChoice("exact", "always", "reference", "never")
    assert choice.rules() == LoopRules()
    assert not choice.rules().reads_signals


def test_every_preset_names_rules_that_exist():
    for choice in PRESETS.values():
        assert choice.policy in POLICIES
        choice.rules()


def test_what_is_given_replaces_a_presets_part_and_no_other():
    choice = loop_choice("balanced", "rolling", None, None, "never")
    assert (choice.policy, choice.lost) == ("rolling", "never")
    assert (choice.refresh, choice.memory) == (PRESETS["balanced"].refresh, PRESETS["balanced"].memory)


def test_changes_of_scene_are_computed_where_a_rule_looks_at_them():
    assert LoopChoice(refresh="scene").rules().watches_scene
    assert LoopChoice(lost="suspend").rules().watches_scene
    assert not LoopChoice(refresh="every:5", memory="anchors", lost="hide").rules().watches_scene


@pytest.mark.parametrize(
    ("names", "said"),
    [(("quick", None, None, None, None), "preset: got 'quick'"), (("exact", None, None, "", None), "memory: got ''")],
)
def test_what_is_no_choice_is_refused(names, said):
    with pytest.raises(InputError, match=said):
        loop_choice(*names).rules()
