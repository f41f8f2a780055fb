"""A write that was stopped goes on where it stood, and nothing half-written is taken for whole."""

import errno
import fcntl
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from glus_edge.export.language.graph import write_language_model
from glus_edge.export.staging import resumable_folder
from glus_edge.runtime.errors import OutputError
from tests.export.tiny_llama import llama

pytestmark = pytest.mark.torch


class Stopping:
    """Weights that are read `count` times and no more."""

    def __init__(self, weights, count):
        self.config, self._weights, self.left, self.read = weights.config, weights, count, []

    def tensor(self, name: str) -> torch.Tensor:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        self.read.append(name)
        return self._weights.tensor(name)


def write(folder: Path, weights, dimensions, storage: str) -> bytes:
    folder.mkdir(exist_ok=True)
    path = folder / "language_model.onnx"
    write_language_model(weights, dimensions, path, "float32", storage)
    assert sorted(each.name for each in folder.iterdir()) == [path.name, f"{path.name}.data"]
    return path.read_bytes() + path.with_name(f"{path.name}.data").read_bytes()


@pytest.mark.parametrize("storage", ["int4", "int8", "fp32"])
@pytest.mark.parametrize("stop", [1, 5, 13])
def test_what_was_written_is_not_read_again_and_the_file_is_the_same(tmp_path: Path, storage: str, stop: int) -> None:
    _, dimensions, weights = llama(6)
    whole = write(tmp_path / "whole", weights, dimensions, storage)
    first = Stopping(weights, stop)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "stopped", first, dimensions, storage)
    second = Stopping(weights, 99)
    assert write(tmp_path / "stopped", second, dimensions, storage) == whole
    matrices = [name for name in first.read if name.endswith("_proj.weight")]
    assert not set(matrices) & set(second.read)


def test_a_damaged_part_and_all_behind_it_are_written_anew(tmp_path: Path) -> None:
    _, dimensions, weights = llama(6)
    whole = write(tmp_path / "whole", weights, dimensions, "int4")
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "stopped", Stopping(weights, 9), dimensions, "int4")
    data = tmp_path / "stopped" / "language_model.onnx.data"
    journal = data.with_name(f"{data.name}.journal").read_text().splitlines()
    content = bytearray(data.read_bytes())
    content[8192 + 5] ^= 1
    data.write_bytes(content[:-7])  # and cut off
    again = Stopping(weights, 99)
    assert write(tmp_path / "stopped", again, dimensions, "int4") == whole
    assert "model.layers.0.self_attn.v_proj.weight" in again.read
    assert len(journal) > 8


def test_what_was_left_in_another_storage_is_written_anew(tmp_path: Path) -> None:
    _, dimensions, weights = llama(6)
    whole = write(tmp_path / "whole", weights, dimensions, "fp32")
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "stopped", Stopping(weights, 9), dimensions, "int4")
    again = Stopping(weights, 99)
    assert write(tmp_path / "stopped", again, dimensions, "fp32") == whole
    assert "model.layers.0.self_attn.q_proj.weight" in again.read


def test_a_folder_is_kept_only_if_something_long_was_begun(tmp_path: Path) -> None:
    def fill(begun: bool) -> None:
        with resumable_folder(tmp_path / "bundle", overwrite=False, key="a") as folder:
            (folder / "x.journal").write_text("line\n" if begun else "")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match=r"free some space$"):
        fill(begun=False)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="the same command goes on where it stopped"):
        fill(begun=True)
    assert [path.name for path in tmp_path.iterdir()] == [".bundle.partial"]
    with resumable_folder(tmp_path / "bundle", overwrite=False, key="a") as folder:
        assert (folder / "x.journal").read_text() == "line\n"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_another_export_begins_anew(tmp_path: Path) -> None:
    partial = tmp_path / ".bundle.partial"
    partial.mkdir()
    (partial / "resume.key").write_text("a")
    (partial / "x.journal").write_text("line\n")
    with resumable_folder(tmp_path / "bundle", overwrite=False, key="b") as folder:
        assert [path.name for path in folder.iterdir()] == ["resume.key"]


def test_what_a_process_killed_at_the_very_end_left_is_in_nobodys_way(tmp_path: Path) -> None:
    for name in ("bundle", ".bundle.partial-replaced"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text('{"format_version": 1}')
    with resumable_folder(tmp_path / "bundle", overwrite=True, key="a") as folder:
        (folder / "manifest.json").write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    assert (tmp_path / "bundle" / "manifest.json").read_text() == "new"


def test_a_file_system_without_locks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(file: object, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with (
        pytest.raises(OutputError, match=r"bundle: cannot be written \(No locks available\)"),
        resumable_folder(tmp_path / "bundle", overwrite=False, key="a"),
    ):
        pytest.fail("went on")
    assert not (tmp_path / "bundle").exists()


def test_two_processes_do_not_write_one_bundle(tmp_path: Path) -> None:
    other = (
        "import sys; from pathlib import Path; from glus_edge.export.staging import resumable_folder\n"
        "with resumable_folder(Path(sys.argv[1]), False, 'a'): pass\n"
    )
    with resumable_folder(tmp_path / "bundle", overwrite=False, key="a"):
        done = subprocess.run(
            [sys.executable, "-c", other, str(tmp_path / "bundle")], capture_output=True, text=True, check=False
        )
    assert "another process is writing it" in done.stderr


def test_of_many_processes_one_at_a_time_holds_the_lock(tmp_path: Path) -> None:
    other = (
        "import sys; from pathlib import Path; from glus_edge.export.staging import _locked\n"
        "from glus_edge.runtime.errors import OutputError\n"
        "held = Path(sys.argv[1]).with_name('held'); entered = 0\n"
        "for _ in range(2000):\n"
        "    try:\n"
        "        with _locked(Path(sys.argv[1])):\n"
        "            held.touch(exist_ok=False); entered += 1; held.unlink()\n"
        "    except OutputError: pass\n"
        "print(entered)\n"
    )
    command = [sys.executable, "-c", other, str(tmp_path / "bundle")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    entered = [int(process.communicate()[0]) for process in processes]  # a second holder ends with FileExistsError
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert all(entered)
