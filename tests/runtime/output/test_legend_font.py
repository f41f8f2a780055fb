import numpy as np
import pytest
from PIL import ImageFont

from glus_edge.runtime.output import legend_font
from glus_edge.runtime.output.legend import draw_legend
from glus_edge.runtime.output.legend_font import drawable

INSTALLED = bool(legend_font._names())


@pytest.mark.parametrize("text", ["der grüne Ball", "le chat noirâtre", "η γάτα", "красный шар", "the dog"])
def test_letters_are_drawn_by_a_font_that_has_them_or_escaped(text: str) -> None:
    shown, font = drawable(text, 20)
    assert shown in (text, text.encode("ascii", "backslashreplace").decode("ascii"))
    assert shown == text or not INSTALLED or not all(legend_font._has(legend_font._names()[0], each) for each in text)
    missing = bytes(font.getmask("\U0010ffff"))
    assert all(bytes(font.getmask(letter)) != missing for letter in set(shown) - {" "})


def test_letters_that_no_font_has_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(legend_font, "_names", tuple)
    assert drawable("the 猫", 20)[0] == "the \\u732b"


@pytest.mark.parametrize("text", ["a\x00b", "\ud800", "\uffff", "e\u0301\u200d", "\U0010fffe"])
def test_what_is_no_letter_is_drawn_too(text: str) -> None:
    assert isinstance(drawable(text, 20)[1], ImageFont.FreeTypeFont)
    assert draw_legend(np.zeros((60, 200, 3), np.uint8), (text,)).any()
