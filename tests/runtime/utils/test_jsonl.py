import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glus_edge.runtime.errors import InputError, OutputError
from glus_edge.runtime.utils.jsonl import append, open_journal

HEADER = {"format": "test", "of": "a bundle"}
RECORDS = st.lists(
    st.dictionaries(st.text(max_size=5), st.none() | st.integers() | st.text(max_size=9) | st.booleans(), max_size=3),
    max_size=5,
)


def test_a_new_journal_has_its_header_and_no_records(tmp_path: Path) -> None:
    assert open_journal(tmp_path / "j.jsonl", HEADER) == (HEADER, [])
    assert open_journal(tmp_path / "j.jsonl", {"format": "another"}) == (HEADER, [])


@given(records=RECORDS, torn=st.integers(min_value=0, max_value=200))
def test_a_torn_file_gives_every_record_before_the_tear_and_goes_on(
    records: list[dict[str, object]], torn: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "j.jsonl"
        open_journal(path, HEADER)
        for record in records:
            append(path, record)
        content = path.read_bytes()
        kept = content[: max(0, len(content) - torn)]
        path.write_bytes(kept)
        whole = max(0, kept.count(b"\n") - 1)
        assert open_journal(path, HEADER) == (HEADER, records[:whole])
        append(path, {"after": 1})
        assert open_journal(path, HEADER) == (HEADER, [*records[:whole], {"after": 1}])


@pytest.mark.parametrize(
    "content", [b"half a line", b"[1]\n", b"{}\nnot json\n", b"{}\n1\n", b"{}\n\xff\n", b"[" * 99999 + b"\n"]
)
def test_a_file_that_is_no_journal_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "j.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"j\.jsonl"):
        open_journal(path, HEADER)
    assert path.read_bytes() == content


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        open_journal(tmp_path / "no such folder" / "j.jsonl", HEADER)
    with pytest.raises(InputError, match="cannot be read"):
        open_journal(tmp_path, HEADER)
    with pytest.raises(OutputError, match="No space left"):
        append(Path("/dev/full"), {"a": 1})


def test_a_record_that_failed_half_way_leaves_no_torn_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "j.jsonl"
    open_journal(path, HEADER)
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OutputError, match="No space left"):
            append(path, {"a": 1})
    append(path, {"b": 2})
    assert [json.loads(line) for line in path.read_text().splitlines()] == [HEADER, {"b": 2}]


def test_an_infinity_is_refused(tmp_path: Path) -> None:
    open_journal(tmp_path / "j.jsonl", HEADER)
    with pytest.raises(ValueError, match="JSON"):
        append(tmp_path / "j.jsonl", {"a": float("inf")})
