"""The tables of the policies page name every rule there is."""

import re

import pytest

from glus_edge.runtime.policies.loop_rules import PRESETS
from glus_edge.runtime.policies.lost_target import LOST_RULES
from glus_edge.runtime.policies.memory_rule import PARTS, REFERENCE
from glus_edge.runtime.policies.refresh import RULES
from glus_edge.runtime.policies.window import WINDOW_POLICIES
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "policies.md").read_text()


@pytest.mark.parametrize(
    ("heading", "names"),
    [
        ("preset", PRESETS),
        ("`--policy`", WINDOW_POLICIES),
        ("`--refresh`", RULES),
        ("`--memory`", [REFERENCE, *PARTS]),
        ("`--lost`", LOST_RULES),
    ],
)
def test_a_table_names_every_rule(heading, names):
    table = re.search(rf"^\| {re.escape(heading)} \|.*?\n\n", PAGE, re.MULTILINE | re.DOTALL)[0]
    rows = table.split("\n", 1)[1]
    assert set(re.findall(r"^\| `([\w-]+)", rows, re.MULTILINE)) == set(names)
