import pytest
from hypothesis import given
from hypothesis import strategies as st

from glus_edge.runtime.hub.repository import HubRepository


def test_a_name_may_carry_a_revision():
    assert HubRepository.parse("Swindl/GLUS-A") == HubRepository("Swindl/GLUS-A", "main")
    assert HubRepository.parse("Swindl/GLUS-A@v1.0") == HubRepository("Swindl/GLUS-A", "v1.0")


@pytest.mark.parametrize(
    "text", ["GLUS-A", "/a/b", "a/b/c", "../b", "a/..", "a/b@", "a/b@../x", "a--b/c", "a/" + "b" * 99, ""]
)
def test_a_path_is_no_name(text):
    assert HubRepository.parse(text) is None


@given(st.text())
def test_what_is_parsed_is_read_back(text):
    repository = HubRepository.parse(text)
    assert repository is None or HubRepository.parse(str(repository)) == repository
