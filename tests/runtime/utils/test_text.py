from hypothesis import given
from hypothesis import strategies as st

from glus_edge.runtime.utils.text import printable


@given(st.text())
def test_nothing_that_moves_a_cursor_is_left(text: str) -> None:
    assert printable(text).isprintable()


def test_what_can_be_read_stays_and_the_rest_is_escaped() -> None:
    assert printable("a dog, né, 猫") == "a dog, né, 猫"
    assert printable("\x1b[2J\n\ud800") == "\\x1b[2J\\n\\ud800"
