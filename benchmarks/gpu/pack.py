"""A pack for a GPU machine without network: sources, wheels and one script, in parts of a size that can be carried."""

import hashlib
import shlex
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import glus_edge.runtime
from glus_edge.runtime.errors import InputError, OutputError
from glus_edge.runtime.utils.atomic_file import written_aside

PACKAGES = ("runtime", "export", "training", "benchmarks", "calibration")
# What is small, and what such a machine is least likely to have. torch, onnx and transformers are expected there, or are
# named with --wheel.
WHEELS = ("onnxruntime-gpu", "cuda-bindings", "tokenizers", "av", "opencv-python-headless", "pillow", "tqdm")
_LEFT_OUT = ("nano", "packed", "__pycache__")  # folders that the benchmark of random weights does not read
_ARCHIVE, _SCRIPT, _SUMS = "glus-edge-gpu.tar", "run.sh", "SHA256SUMS"
_BLOCK = 1 << 20
_RUN = """\
#!/bin/sh
# Joins and checks the parts, unpacks them beside this script, runs the benchmark and writes record.json.
# PYTHON names the interpreter; further arguments are those of `glus-edge bench gpu`.
set -eu
cd "$(dirname "$0")"
sha256sum --check --quiet {sums}
python=${{PYTHON:-python3}}
if [ ! -d unpacked ]; then
  rm -rf unpacking && mkdir unpacking
  cat {archive}.* | tar -xf - -C unpacking
  # into a folder of its own: what is installed on this machine is left as it is
  if ls unpacking/wheels/*.whl >/dev/null 2>&1; then
    "$python" -m pip install --quiet --no-index --no-deps --target unpacking/site unpacking/wheels/*.whl
  fi
  mv unpacking unpacked
fi
PYTHONPATH="$PWD/unpacked/site:$PWD/unpacked/source${{PYTHONPATH:+:$PYTHONPATH}}" \\
  exec "$python" -m glus_edge.benchmarks.gpu --output record.json "$@"
"""


@dataclass(frozen=True)
class PackSettings:
    """What is packed. InputError: a size that cannot be."""

    folder: Path
    part_mib: int = 58
    python: str = "3.12"  # of the machine
    platform: str = "manylinux_2_28_x86_64"  # as pip calls it
    wheels: tuple[str, ...] = WHEELS  # requirements; none: sources only

    def __post_init__(self) -> None:
        if self.part_mib < 1:
            raise InputError(f"--part-mib: got {self.part_mib}, expected 1 or more")


def write_pack(settings: PackSettings) -> list[Path]:
    """Writes parts, sums and script; the files in the order written.

    OutputError: the folder holds something already or cannot be written, or pip does not find a wheel.
    """
    folder = settings.folder
    try:
        if folder.exists() and any(folder.iterdir()):
            raise OutputError(f"--pack {folder}: holds files already, expected a new or an empty folder; name another")
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder) as scratch:
            wheels = Path(scratch) / "wheels"
            wheels.mkdir()
            _download(settings, wheels)
            archive = Path(scratch) / _ARCHIVE
            _write_archive(archive, wheels)
            parts = list(_split(archive, folder, settings.part_mib << 20))
    except OSError as error:
        raise OutputError(
            f"{error.filename or folder}: cannot be written ({error.strerror}), expected a folder with room for the pack"
        ) from error
    sums, script = folder / _SUMS, folder / _SCRIPT
    _write(sums, "".join(f"{_sha256(part)}  {part.name}\n" for part in parts))
    _write(script, _RUN.format(sums=_SUMS, archive=_ARCHIVE))
    script.chmod(0o755)
    return [*parts, sums, script]


def _download(settings: PackSettings, folder: Path) -> None:
    if not settings.wheels:
        return
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--python-version", settings.python, "--platform", settings.platform]
    command += ["--platform", "manylinux2014_x86_64"] if settings.platform == PackSettings.platform else []
    done = subprocess.run([*command, "--dest", str(folder), *settings.wheels], capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["ERROR: pip gave no reason"]
        raise OutputError(
            f"wheels for Python {settings.python} on {settings.platform}: pip download failed "
            f"({lines[-1].removeprefix('ERROR: ')[:200]}); name others with --wheel, another --python or --platform "
            f"({shlex.join(settings.wheels)} were asked for)"
        )


def _write_archive(archive: Path, wheels: Path) -> None:
    root = Path(glus_edge.runtime.__file__).parent.parent
    with tarfile.open(archive, "w") as tar:
        for package in PACKAGES:
            for path in sorted(_sources(root / package)):
                tar.add(path.resolve(), f"source/glus_edge/{package}/{path.relative_to(root / package)}", filter=_plain)
        for wheel in sorted(wheels.iterdir()):
            tar.add(wheel, f"wheels/{wheel.name}", filter=_plain)


def _sources(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir() and path.name not in _LEFT_OUT:
            yield from _sources(path)
        elif path.is_file():
            yield path


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Nothing of this machine: neither owner nor time."""
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o644
    return entry


def _split(archive: Path, folder: Path, size_bytes: int) -> Iterator[Path]:
    with archive.open("rb") as source:
        number = 0
        while block := source.read(min(size_bytes, _BLOCK)):
            part, left = folder / f"{_ARCHIVE}.{number:03}", size_bytes
            with part.open("wb") as target:
                while block:
                    target.write(block)
                    left -= len(block)
                    block = source.read(min(left, _BLOCK)) if left else b""
            yield part
            number += 1


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _write(path: Path, text: str) -> None:
    with written_aside(path) as part:
        part.write_text(text, encoding="utf-8")
