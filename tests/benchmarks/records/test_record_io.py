import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glus_edge.benchmarks.records.profile_record import VERSION
from glus_edge.benchmarks.records.record_io import read_profile, write_profile
from glus_edge.runtime.errors import InputError
from tests.benchmarks.records.samples import frame, record, run


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_profile(path, record(disturbances=("another process took 1.2 cores",)))
    assert read_profile(path) == record(
        disturbances=("another process took 1.2 cores",), environment=read_profile(path).environment
    )


def test_what_is_doubtful_stands_at_the_top(tmp_path: Path) -> None:
    write_profile(tmp_path / "r.json", record(disturbances=("throttled",)))
    assert list(json.loads((tmp_path / "r.json").read_text()))[:3] == ["format", "format_version", "disturbances"]


def test_a_sample_that_is_no_number_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_profile(tmp_path / "r.json", record(run((frame(decode_ms=float("nan")),))))
    assert not (tmp_path / "r.json").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "glus-edge bench latency"}, "got 'glus-edge bench latency', expected 'glus-edge profile'"),
        (
            {"format_version": VERSION + 1},
            f"got format version {VERSION + 1}, expected at most {VERSION}; update glus-edge",
        ),
        ({"format_version": True}, "got format version True"),
        ({"runs": 3}, "runs: got 3, expected list"),
        ({"commit": 5}, "commit: got 5, expected str"),
        ({"extra": 5}, "got unknown key 'extra'"),
    ],
)
def test_what_is_no_record_of_this_version_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = tmp_path / "r.json"
    write_profile(path, record())
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError) as error:
        read_profile(path)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ((run(), run()), "runs: got 2 with 1 names"),
        ((run(scenario="other"),), "runs[0].scenario: got 'other', expected one of single, live"),
        ((run((frame(finished_s=-1.0),), seconds=1.0),), "runs[0].frames[0]: got times"),
        (
            (run((frame(0, {"decode": -1.0}, finished_s=1.0),), seconds=1.0),),
            "runs[0].frames[0]: got a stage or call of no length",
        ),
        ((run(seconds=-1.0),), "runs[0].seconds: got -1.0"),
    ],
)
def test_what_types_cannot_say_is_checked_too(tmp_path: Path, runs: tuple[object, ...], message: str) -> None:
    path = tmp_path / "r.json"
    write_profile(path, replace(record(), runs=runs))
    with pytest.raises(InputError) as error:
        read_profile(path)
    assert message in str(error.value)


@given(st.binary(max_size=64) | st.from_regex(r'\{"format": ?"glus-edge profile"[^\x00]{0,40}', fullmatch=True))
def test_no_bytes_do_more_than_be_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes | str) -> None:
    path = tmp_path_factory.getbasetemp() / "hostile.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError):
        read_profile(path)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json: cannot be read \(No such file or directory\)"):
        read_profile(tmp_path / "none.json")


def test_stages_add_up_and_latency_begins_at_the_arrival() -> None:
    sample = frame(3, {"decode": 4.0, "mask_decoder": 6.0}, started_s=0.302, finished_s=0.312)
    assert sample.stages_ms() == {"decode": 4.0, "mask_decoder": 6.0}
    assert sample.latency_ms == pytest.approx(12.0)
    assert sample.work_ms == pytest.approx(10.0)
    assert run().energy[0].net_joules == pytest.approx(4.0)
    assert replace(run().energy[0], idle_watts=None).net_joules is None
