"""A pack joins to what was packed, runs from there, and is refused where it would overwrite."""

import json
import os
import subprocess
import sys

import pytest

from glus_edge.benchmarks.gpu import pack
from glus_edge.benchmarks.gpu.pack import PackSettings, write_pack
from glus_edge.runtime.cli import main
from glus_edge.runtime.errors import InputError, OutputError

pytestmark = pytest.mark.torch  # the benchmark that the pack runs writes graphs


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """Sources only, in parts of 1 MiB."""
    folder = tmp_path_factory.mktemp("pack") / "new"
    return folder, write_pack(PackSettings(folder, part_mib=1, wheels=()))


def test_parts_keep_their_size_and_nothing_of_this_machine_is_in_them(packed):
    folder, files = packed
    *parts, sums, script = files
    assert sorted(files) == sorted(folder.iterdir())
    assert len(parts) > 1
    assert all(part.stat().st_size == 1 << 20 for part in parts[:-1])
    assert 0 < parts[-1].stat().st_size <= 1 << 20
    assert [line.split()[1] for line in sums.read_text().splitlines()] == [part.name for part in parts]
    content = b"".join(part.read_bytes() for part in parts)
    assert os.fsencode(str(pack.Path.home())) + b"/" not in content
    assert b"source/glus_edge/benchmarks/gpu/command.py" in content
    assert b"test_pack.py" not in content
    assert os.access(script, os.X_OK)


def test_the_script_runs_the_sources_that_were_packed_and_writes_the_record(packed):
    folder, _ = packed
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": ""}
    arguments = ["--size", "tiny", "--graph", "memory_encoder", "--backend", "onnxruntime-cuda"]
    done = subprocess.run([folder / "run.sh", *arguments], env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((folder / "record.json").read_text())["rows"]
    assert row["note"].startswith("CUDAExecutionProvider: not in this ONNX Runtime")
    assert (folder / "unpacked" / "source" / "glus_edge" / "runtime" / "cli.py").is_file()


def test_a_part_that_was_damaged_on_the_way_is_noticed(tmp_path):
    folder = tmp_path / "new"
    part, *_ = write_pack(PackSettings(folder, wheels=()))
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    done = subprocess.run([folder / "run.sh"], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert part.name in done.stdout + done.stderr
    assert not (folder / "unpacked").exists()


def test_a_folder_with_files_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("x")
    with pytest.raises(OutputError, match="holds files already, expected a new or an empty folder"):
        write_pack(PackSettings(tmp_path, wheels=()))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_wheel_that_there_is_not_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "WARNING: x\nERROR: No matching distribution found for nothing\n")
    monkeypatch.setattr(pack.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(OutputError, match="pip download failed .No matching distribution found for nothing.; name"):
        write_pack(PackSettings(tmp_path / "new", wheels=("nothing",)))
    assert not list((tmp_path / "new").iterdir())


def test_the_command_line_packs_and_says_what_to_do(tmp_path, capsys):
    assert main(["bench", "gpu", "--pack", str(tmp_path / "new"), "--no-wheels"]) == 0
    assert "run.sh" in capsys.readouterr().out
    with pytest.raises(InputError, match="--part-mib: got 0, expected 1 or more"):
        PackSettings(tmp_path, part_mib=0)
