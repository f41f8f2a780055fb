"""The project's pages, and the blocks of code in them."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = tuple(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")) + tuple(
    sorted((ROOT / "docs").glob("*.md"))
)
_FENCE = re.compile(r"^```(?P<language>\w+)(?P<options>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    place: str  # page:line
    language: str
    text: str
    needs: bool  # its title begins with "Needs": it is parsed, and does not run here


def text_outside_blocks(page: Path) -> str:
    """What people read: the page without its blocks of code."""
    return _FENCE.sub("", page.read_text())


def blocks(language: str) -> list[Block]:
    """All blocks of a language, page by page."""
    return [
        Block(
            f"{page.relative_to(ROOT)}:{page.read_text().count(chr(10), 0, found.start()) + 1}",
            found["language"],
            found["text"],
            'title="Needs ' in found["options"],
        )
        for page in PAGES
        for found in _FENCE.finditer(page.read_text())
        if found["language"] == language
    ]
