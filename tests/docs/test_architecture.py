"""The room map and the package order are those of the code, and the first page is one that people read."""

import importlib
import re
import sys

import pytest

from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text()
toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
CONTRACTS = {
    contract["id"]: contract
    for contract in toml.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
}


@pytest.mark.parametrize("package", ["runtime", "export", "training", "benchmarks", "calibration"])
def test_every_room_is_in_the_room_map(package):
    rooms = {f"{package}/{file.parent.name}/" for file in (ROOT / package).glob("*/__init__.py")}
    assert rooms
    assert rooms <= set(re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE))


def test_the_order_of_packages_is_that_of_the_linter():
    assert "**" + " → ".join(name.split(".")[1] for name in CONTRACTS["packages"]["layers"]) + "**" in PAGE


def test_the_order_of_rooms_is_that_of_the_linter():
    rows = re.findall(r"^\| \d+ \| (.+) \|$", PAGE, re.MULTILINE)
    assert [re.findall(r"`(\w+)`", row) for row in rows] == [
        layer.split(" | ") for layer in CONTRACTS["runtime"]["layers"]
    ]


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
