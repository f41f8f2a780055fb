"""The overlay's legend: which colour stands for which sentence."""

import colorsys
from bisect import bisect_right
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from glus_edge.runtime.output.legend_font import Font, drawable

_GOLDEN = 0.61803398875  # turns of the colour wheel between sentences: neighbours differ, and no colour comes back soon
_FIRST_HUE = 0.55
_BACKGROUND = (0, 0, 0, 150)


def sentence_colour(sentence: int) -> tuple[int, int, int]:
    """A sentence's colour in the overlay, RGB bytes."""
    red, green, blue = colorsys.hsv_to_rgb((_FIRST_HUE + sentence * _GOLDEN) % 1, 0.85, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_legend(rgb: NDArray[np.uint8], sentences: tuple[str, ...]) -> NDArray[np.uint8]:
    """Writes the legend into the top left corner of a picture uint8 [H, W, 3], in place, and returns it."""
    patch = _legend(rgb.shape[0], rgb.shape[1], sentences)
    height, width = patch.shape[:2]
    alpha = patch[..., 3:].astype(np.uint16)
    corner = rgb[:height, :width]
    corner[...] = (corner * (255 - alpha) + patch[..., :3] * alpha + 127) // 255
    return rgb


@lru_cache(maxsize=4)
def _legend(height: int, width: int, sentences: tuple[str, ...]) -> NDArray[np.uint8]:
    """The legend for pictures of this size: uint8 [h, w, 4], at most half the picture high and never wider."""
    size = max(10, min(height, width) // 28)
    line, margin = round(size * 1.5), size // 2
    rows = max(1, min(len(sentences), (height // 2 - 2 * margin) // line))
    shown = [f"{number}  {text}" for number, text in enumerate(sentences[:rows])]
    if rows < len(sentences):
        shown[-1] = f"{rows - 1}  {sentences[rows - 1]}  (+{len(sentences) - rows})"
    indent = margin + size + margin
    lines = [_line(text, size, width - indent - margin) for text in shown]
    longest = max(font.getlength(text) for text, font in lines)
    box = (min(width, round(indent + longest + margin)), min(height, rows * line + margin))
    image = Image.new("RGBA", box, _BACKGROUND)
    draw = ImageDraw.Draw(image)
    for row, (text, font) in enumerate(lines):
        top = margin // 2 + row * line + (line - size) // 2
        draw.rectangle((margin, top, margin + size, top + size), fill=(*sentence_colour(row), 255))
        draw.text((indent, top + size / 2), text, fill=(255, 255, 255, 255), font=font, anchor="lm")
    return np.asarray(image, np.uint8)


def _line(text: str, size: int, width: int) -> tuple[str, Font]:
    """What is written of a text in `width` pixels, and its font."""
    text, font = drawable(" ".join(text.split())[: max(1, width + 1)], size)
    return _shortened(text, font, width), font


def _shortened(text: str, font: Font, width: float) -> str:
    """The text, or as much of it as fits into `width` pixels, followed by dots."""
    if len(text) <= width and font.getlength(text) <= width:  # no letter is narrower than a pixel
        return text
    fits = bisect_right(
        range(1, min(len(text), round(width)) + 1), width, key=lambda end: font.getlength(text[:end] + "...")
    )
    return text[:fits] + "..."
