"""The reference page describes all that the runtime offers."""

import glus_edge.runtime
from glus_edge.runtime.errors import GlusEdgeError
from tests.docs.pages import ROOT


def test_every_public_name_of_the_runtime_is_on_the_page():
    described = (ROOT / "docs" / "reference.md").read_text().splitlines()
    assert "::: glus_edge.runtime.errors" in described
    for name in glus_edge.runtime.__all__:
        offered = getattr(glus_edge.runtime, name)
        is_error = isinstance(offered, type) and issubclass(offered, GlusEdgeError)
        assert is_error or f"::: glus_edge.runtime.{name}" in described, name
