from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glus_edge.runtime.errors import InputError
from glus_edge.runtime.policies.named_rule import frames, rule_from_text, rule_pattern, share


@dataclass(frozen=True)
class Sample:
    part: float = share(0.5)
    period: int = frames(3)


RULES = {"sample": Sample}


@given(st.floats(0, 1), st.integers(1, 1 << 30))
def test_what_is_written_is_read_back(part, period):
    assert rule_from_text("family", RULES, f"sample:{part!r},{period}") == Sample(part, period)


@given(st.text() | st.text("0123456789.,_-+e \n\tnaif"))
def test_any_text_is_a_rule_or_one_line_that_says_why_not(text):
    for written in (text, f"sample:{text}"):
        try:
            rule, said = rule_from_text("family", RULES, written), ""
        except InputError as error:
            rule, said = Sample(), str(error)
        assert said == "" or said.startswith("family: ")
        assert "\n" not in said
        assert 0 <= rule.part <= 1
        assert rule.period >= 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("other", "family: got 'other', expected one of sample"),
        ("sample:", "family: got 'sample:', expected sample:part,period"),
        ("sample:1,2,3", "family: got 'sample:1,2,3', expected sample:part,period"),
        ("sample:x", "family: part: got 'x', expected a number"),
        ("sample:1,1.5", "family: period: got '1.5', expected a whole number"),
        ("sample:2", "family: part: got '2', expected 0 to 1"),
    ],
)
def test_what_is_wrong_is_named(text, said):
    with pytest.raises(InputError) as caught:
        rule_from_text("family", RULES, text)
    assert str(caught.value) == said


def test_a_rule_without_settings_is_its_name():
    @dataclass(frozen=True)
    class Plain:
        pass

    assert rule_pattern("plain", Plain) == "plain"
    assert rule_pattern("sample", Sample) == "sample:part,period"
