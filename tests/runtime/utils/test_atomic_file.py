"""What takes a name is whole, and takes the place of nothing but a file."""

import errno
import os
import threading
from pathlib import Path

import pytest

from glus_edge.runtime import OutputError
from glus_edge.runtime.utils.atomic_file import check_file, write_file, written_aside


def test_a_link_leads_to_the_file_that_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("real")
    for content in (b"first", b"second"):
        check_file(tmp_path / "link")
        write_file(tmp_path / "link", content)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "real").read_bytes() == content
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["link", "real"]


def test_a_pipe_is_written_into_and_stays_one(tmp_path: Path) -> None:
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    check_file(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write_file(pipe, b"content")
    reader.join(10)
    assert got == [b"content"]
    assert pipe.is_fifo()


def test_what_must_be_a_file_replaces_no_device(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a device or a pipe"), written_aside(Path("/dev/null")):
        pytest.fail("nothing is to be made for it")
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("name", ["a" * 251 + ".png", "é" * 125, os.fsdecode(b"r\xe9s.json")])
def test_any_name_that_a_file_may_have_is_written(tmp_path: Path, name: str) -> None:
    write_file(tmp_path / name, b"x")
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a" * 256, "missing/x", "file/x"])
def test_what_cannot_be_written_is_one_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write_file(tmp_path / name, b"x")


def test_the_file_that_failed_is_the_one_that_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"gone: cannot be used \(No such file") as raised,
        written_aside(tmp_path / "x"),
    ):
        (tmp_path / "gone").read_bytes()
    assert str(tmp_path / "x") not in str(raised.value)
    with pytest.raises(OutputError, match="x: the disk is full"), written_aside(tmp_path / "x"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not list(tmp_path.iterdir())
