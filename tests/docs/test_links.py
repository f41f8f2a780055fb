"""Links and paths in the pages lead somewhere."""

import re

import pytest

from tests.docs.pages import PAGES, ROOT, text_outside_blocks

# what is in backticks and begins with one of the repository's folders
PATH = re.compile(r"`((?:runtime|export|calibration|benchmarks|training|tests|docs|docker|src)/[\w./-]*)`")


def anchors(page):
    """As GitHub and mkdocs make them of headings."""
    headings = re.findall(r"^#+ (.+)$", text_outside_blocks(page), re.MULTILINE)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_the_project_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", text_outside_blocks(page)):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        linked = page.parent / file if file else page
        assert linked.is_file(), target
        assert not anchor or anchor in anchors(linked), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_that_are_named_exist(page):
    for path in PATH.findall(text_outside_blocks(page)):
        assert (ROOT / path).exists(), path
