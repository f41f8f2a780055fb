"""A folder that appears whole or not at all, written by one process at a time."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from glus_edge.runtime.errors import InputError, OutputError

KEY = "resume.key"  # in a folder that can be gone on with
OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
LONGEST_NAME = 255  # bytes
# What export, calibrate and build write into a bundle: `--overwrite` replaces a folder of these and of nothing else.
BUNDLE_NAMES = (
    "manifest.json",
    "tokenizer.json",
    "token_embedding.npy",
    "recipe.json",
    "recipe.safetensors",
    "engines",
)
BUNDLE_SUFFIXES = (".onnx", ".onnx.data")
LARGEST_MANIFEST = 16 * 1024 * 1024  # bytes


@contextmanager
def new_folder(target: Path, overwrite: bool) -> Iterator[Path]:
    """Gives a temporary sibling of `target` to write into; renamed to it at the end, removed on any error or Ctrl-C.

    `overwrite` replaces an earlier bundle, and nothing else. Raises OutputError where the target is in the way, the disk is
    full or read-only, or another process is writing to the same target; InputError naming any other file that the system
    refuses meanwhile.
    """
    with _staged(target, overwrite, None) as partial:
        yield partial


@contextmanager
def resumable_folder(target: Path, overwrite: bool, key: str) -> Iterator[Path]:
    """As `new_folder`, but a full disk, Ctrl-C or a kill leaves '.NAME.partial', which the next one goes on with.

    `key`: all that the contents follow from; a folder left with another key is begun anew, and so is one in which no long
    part was begun (a file '*.journal').
    """
    with _staged(target, overwrite, key) as partial:
        yield partial


@contextmanager
def _staged(target: Path, overwrite: bool, key: str | None) -> Iterator[Path]:
    check_target(target, overwrite)  # before anything is written beside it
    partial, replaced = _sibling(target, ".partial"), _sibling(target, ".partial-replaced")
    with _locked(target):
        keep = False
        try:
            if replaced.is_dir() and not target.exists():  # of a process that was killed between two renames
                replaced.rename(target)
                _check(target, overwrite)
            stored = partial / KEY
            if not (key is not None and stored.is_file() and stored.read_text(encoding="utf-8") == key):
                shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(exist_ok=True)
            if key is not None:
                stored.write_text(key, encoding="utf-8")
            yield partial
            stored.unlink(missing_ok=True)
            _rename(partial, target, replaced)
        except OSError as error:
            keep = error.errno in OUT_OF_SPACE and _begun(partial, key)
            more = "; the same command goes on where it stopped" if keep else ""
            raise _refusal(error, target, (partial, replaced), more) from error
        except KeyboardInterrupt:
            keep = _begun(partial, key)
            raise
        finally:
            if not keep:
                shutil.rmtree(partial, ignore_errors=True)


def check_target(target: Path, overwrite: bool) -> None:
    """Raises OutputError where a folder cannot be written as `target`."""
    try:
        _check(target, overwrite)
    except OSError as error:
        raise _unwritable(target, error) from error


def _begun(partial: Path, key: str | None) -> bool:
    return key is not None and any(path.stat().st_size for path in partial.glob("*.journal"))


def _sibling(target: Path, suffix: str) -> Path:
    """A hidden name beside the target; a long one is shortened to its hash."""
    name = f".{target.name}{suffix}"
    if len(os.fsencode(name)) > LONGEST_NAME:
        name = f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:32]}{suffix}"
    return target.with_name(name)


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Holds a file beside the target that only one process can hold; a killed one lets go of it."""
    path = _sibling(target, ".lock")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        file = _locked_file(path)
    except BlockingIOError as error:
        raise OutputError(f"{target}: another process is writing it; wait for it, or give another --output") from error
    except OSError as error:  # a file system without locks, too
        raise _unwritable(target, error) from error
    with file:
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _locked_file(path: Path) -> IO[str]:
    """The open file `path`, locked. One that its last holder removed before the lock came is opened again."""
    while True:
        file = path.open("w", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                return file
        except OSError:
            file.close()
            raise
        file.close()


def _rename(partial: Path, target: Path, replaced: Path) -> None:
    if target.exists():
        shutil.rmtree(replaced, ignore_errors=True)  # of a process that was killed right here
        target.rename(replaced)
        partial.rename(target)
        shutil.rmtree(replaced)
    else:
        partial.rename(target)


def _check(target: Path, overwrite: bool) -> None:
    if target.name in ("", ".."):
        raise OutputError(f"{target}: has no name of its own to be replaced by; give a new folder as --output")
    if not target.exists() and not target.is_symlink():
        return
    if not target.is_dir() or target.is_symlink():
        raise OutputError(f"{target}: is not a folder; give another --output")
    if target.is_mount():
        raise OutputError(
            f"{target}: is a mount point, which nothing can take the place of; give a folder in it as --output"
        )
    names = sorted(path.name for path in target.iterdir())
    if not names:
        return
    if not overwrite:
        raise OutputError(f"{target}: exists already; give another --output, or --overwrite to replace it")
    if not _is_manifest(target / "manifest.json"):
        raise OutputError(
            f"{target}: is no bundle (no manifest.json of one) and is not overwritten; give another --output"
        )
    foreign = [name for name in names if name not in BUNDLE_NAMES and not name.endswith(BUNDLE_SUFFIXES)]
    if foreign:
        raise OutputError(
            f"{target}: holds {foreign[0]!r}, which is no part of a bundle, and is not overwritten; move it away, or give "
            "another --output"
        )


def _is_manifest(path: Path) -> bool:
    """Whether a file is a manifest of this package's, of any version."""
    if not path.is_file() or path.stat().st_size > LARGEST_MANIFEST:
        return False
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return False
    return isinstance(values, dict) and type(values.get("format_version")) is int


def _refusal(error: OSError, target: Path, own: tuple[Path, ...], more: str) -> OutputError | InputError:
    """The error by the file it came from: the output only where it is the output's."""
    if error.errno in OUT_OF_SPACE and error.filename is None:  # only what is written runs out of space
        return _unwritable(target, error, more)
    if error.filename is None:
        return OutputError(
            f"{target}: is not finished: a file could not be read or written ({error.strerror or error}) and the system "
            "does not say which; check the disks of the input and of the output"
        )
    path = Path(os.fsdecode(error.filename))
    if any(path == place or place in path.parents for place in (target, *own)):
        return _unwritable(target, error, more)
    return InputError(
        f"{path}: cannot be used ({error.strerror or error}) while {target.name} is written; check the file and its "
        "permissions"
    )


def _unwritable(target: Path, error: OSError, more: str = "") -> OutputError:
    fix = "free some space" if error.errno in OUT_OF_SPACE else "give another --output"
    return OutputError(f"{target}: cannot be written ({error.strerror or error}); {fix}{more}")
