"""docs/profiling.md describes the whole record: its page is made of the modules that hold its classes."""

import dataclasses
import typing

from glus_edge.benchmarks.instruments.environment import Environment
from glus_edge.benchmarks.records.profile_record import ProfileRecord
from tests.docs.pages import ROOT

DESCRIBED = [line[4:] for line in (ROOT / "docs" / "profiling.md").read_text().splitlines() if line.startswith("::: ")]


def classes(kind: object) -> set[type]:
    """All dataclasses that a record is made of."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return {kind}.union(*(classes(each) for each in typing.get_type_hints(kind).values()))
    return set().union(*(classes(each) for each in typing.get_args(kind)))


def test_every_class_of_the_record_is_on_the_page() -> None:
    described = classes(ProfileRecord) - classes(Environment)
    assert len(described) >= 15
    assert {each.__module__ for each in described} | {f"{Environment.__module__}.Environment"} == set(DESCRIBED)
