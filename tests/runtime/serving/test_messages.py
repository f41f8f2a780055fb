"""What clients say, hostile ones too."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glus_edge.runtime import InputError
from glus_edge.runtime.serving.messages import Add, Remove, command_from_text, error_text, sentences_text

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["add", "remove", "x"]) | st.text(), inner),
)


@given(st.lists(st.text(), min_size=1))
def test_sentences_come_through_as_they_were_said(sentences):
    assert command_from_text(json.dumps({"add": sentences})) == Add(tuple(sentences))


@given(st.integers())
def test_so_do_numbers(number):
    assert command_from_text(json.dumps({"remove": number})) == Remove(number)


@given(st.text() | JSON.map(json.dumps))
def test_anything_else_is_refused_in_one_line(text):
    try:
        assert isinstance(command_from_text(text), (Add, Remove))
        return
    except InputError as error:
        said = json.loads(error_text(error))["error"]
    assert "expected" in said
    assert len(said) < 500
    assert "\n" not in said


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "{}", '{"add": []}', '{"add": "a dog"}', '{"add": [1]}', '{"add": ["a", null]}']
    + ['{"remove": true}', '{"remove": 1.0}', '{"remove": "0"}', '{"add": ["a"], "remove": 0}', '{"add": ["a"]'],
)
def test_what_is_nearly_a_command_is_none(text):
    with pytest.raises(InputError, match="expected"):
        command_from_text(text)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"remove": ' + "9" * 10_000 + "}"])
def test_what_a_parser_chokes_on_is_refused(text):
    with pytest.raises(InputError, match="message: got"):
        command_from_text(text)


def test_answers_are_json():
    assert json.loads(sentences_text(("a", 'the "b"'))) == {"sentences": ["a", 'the "b"']}
    assert json.loads(error_text(ValueError("a\n b"))) == {"error": "a b"}
