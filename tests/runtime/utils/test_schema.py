from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glus_edge.runtime.bundle.manifest import (
    FileEntry,
    GraphEntry,
    ImageSettings,
    Manifest,
    ParityEntry,
    PromptSettings,
)
from glus_edge.runtime.bundle.signatures import ModelDimensions
from glus_edge.runtime.utils.schema import SchemaError, from_json, json_document, record_json, to_json


@dataclass(frozen=True)
class Inner:
    name: str
    size: int = 3


@dataclass(frozen=True)
class Outer:
    inner: Inner
    ratio: float
    maybe: Inner | None = None
    pair: tuple[int, int] = (1, 2)
    many: tuple[str, ...] = ()
    table: dict[str, Inner] = field(default_factory=dict)


def test_records_have_null_for_what_json_cannot_say():
    nan, infinity = float("nan"), float("inf")
    outer = Outer(Inner("a"), ratio=nan)
    assert record_json({"x": [infinity, (1, -infinity)], "y": 2.5, "z": outer}) == {
        "x": [None, [1, None]],
        "y": 2.5,
        "z": to_json(outer) | {"ratio": None},
    }


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "the document: got"),
        ({"ratio": 1.0}, "inner: got nothing"),
        ({"inner": {"name": "a"}, "ratio": "x"}, "ratio: got 'x', expected float"),
        ({"inner": {"name": "a"}, "ratio": 10**400}, "ratio: got a whole number beyond every float"),
        ({"inner": {"name": "a", "size": True}, "ratio": 1}, "inner.size: got true, expected int"),
        ({"inner": {"name": "a", "size": 1.5}, "ratio": 1}, "inner.size: got 1.5, expected int"),
        ({"inner": {"name": "a", "size": None}, "ratio": 1}, "inner.size: got null, expected int"),
        ({"inner": {"name": ["a"] * 99}, "ratio": 1}, "inner.name: got a list of 99, expected str"),
        ({"inner": {"name": "a"}, "ratio": 1, "extra": 0}, "unknown key 'extra'"),
        ({"inner": {"name": "a"}, "ratio": 1, "pair": [1]}, "pair: got 1 values, expected 2"),
        ({"inner": {"name": "a"}, "ratio": 1, "many": ["a", 1]}, r"many\[1\]"),
        ({"inner": {"name": "a"}, "ratio": 1, "table": {"k": {}}}, "table.k.name"),
    ],
)
def test_a_value_that_does_not_fit_is_named_by_its_path(document, message):
    with pytest.raises(SchemaError, match=message):
        from_json(Outer, document)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "got no JSON"),
        (b"{", "got no JSON"),
        (b"{} x", "got no JSON"),
        (b"\xff\xfe{}", "got no JSON"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "got the key 'c' twice"),
        (b"[" * 1_000_000, "nested too deep"),
        (b'{"a":' * 1_000_000, "nested too deep"),
        (b"9" * 10_000, "got no JSON"),
    ],
)
def test_what_is_no_document_is_said(content, said):
    with pytest.raises(SchemaError, match=said):
        json_document(content)


def test_defaults_fill_what_is_not_said():
    assert from_json(Outer, {"inner": {"name": "a"}, "ratio": 1}) == Outer(Inner("a"), 1.0)


entries = st.builds(FileEntry, file=st.text(), sha256=st.text(), size_bytes=st.integers())
parity = st.builds(ParityEntry, st.text(), *[st.floats(allow_nan=False, allow_infinity=False)] * 3)
graphs = st.builds(
    GraphEntry, entries, st.text(), st.text(), st.none() | entries, st.lists(parity, max_size=2).map(tuple)
)
images = st.builds(ImageSettings, st.integers(), *[st.tuples(*[st.floats(-9, 9)] * 3)] * 2)
manifests = st.builds(
    Manifest,
    format_version=st.integers(),
    name=st.text(),
    model=st.builds(ModelDimensions, *[st.integers()] * 13),
    prompt=st.builds(PromptSettings, st.integers(), st.integers()),
    clip=images,
    sam=images,
    graphs=st.dictionaries(st.text(), graphs, max_size=2),
    tokenizer=entries,
    token_embedding=entries,
)


@given(manifests)
def test_a_manifest_survives_the_round_trip(manifest):
    assert from_json(Manifest, to_json(manifest)) == manifest
