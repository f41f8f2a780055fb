"""Which font draws a sentence: the first that has all its letters, of Pillow's own and those that are installed."""

import unicodedata
from functools import lru_cache

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# By the names of their files, as Linux, macOS and Windows have them; Pillow looks in the folders of fonts.
_INSTALLED = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "LiberationSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "DroidSansFallbackFull.ttf",
    "wqy-zenhei.ttc",
    "NotoSansArabic-Regular.ttf",
    "NotoSansHebrew-Regular.ttf",
    "NotoSansDevanagari-Regular.ttf",
    "NotoSansThai-Regular.ttf",
    "Arial Unicode.ttf",
    "PingFang.ttc",
    "arial.ttf",
    "msyh.ttc",
    "malgun.ttf",
)
_NO_LETTER = "\U0010ffff"  # drawn as a font draws what it does not have
_INVISIBLE = ("Mn", "Me", "Cf")  # kinds of characters that change their neighbours and have no picture of their own


def drawable(text: str, size: int) -> tuple[str, Font]:
    """The text and a font of `size` pixels that has its letters; where there is none, those beyond ASCII are escaped."""
    own = ImageFont.load_default(size)
    text = "".join(letter if letter.isprintable() or letter.isspace() else _escaped(letter) for letter in text)
    if text.isascii():
        return text, own
    letters = frozenset(each for each in text if not each.isspace() and unicodedata.category(each) not in _INVISIBLE)
    for name in _names():
        font = ImageFont.truetype(name, size)
        if all(_has(name, letter) for letter in letters):
            return text, font
    return _escaped(text), own


@lru_cache(maxsize=1)
def _names() -> tuple[str, ...]:
    return tuple(name for name in _INSTALLED if _opens(name))


def _opens(name: str) -> bool:
    try:
        ImageFont.truetype(name, 20)
    except (OSError, ImportError):  # it is not installed; Pillow was built without FreeType
        return False
    return True


@lru_cache(maxsize=4096)
def _has(name: str, letter: str) -> bool:
    font = ImageFont.truetype(name, 20)
    return bytes(font.getmask(letter)) != bytes(font.getmask(_NO_LETTER))


def _escaped(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode("ascii") if not text.isascii() else repr(text)[1:-1]
