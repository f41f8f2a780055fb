"""Files that are whole or absent: written aside, then renamed."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from glus_edge.runtime.errors import OutputError

PART_SUFFIX = ".part"  # of a file being written; a leftover after a crash is safe to delete

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LONGEST_NAME = 255  # bytes, on every file system in use


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Gives a path to write to; the file takes its name only if the block ends well, and is removed otherwise.

    A link is followed: the file it leads to is replaced. Errors: OutputError for what the file system refuses, a full disk
    by name, and for a device or pipe, which would be replaced by a file.
    """
    try:
        if _is_special(path):
            raise OutputError(f"{path}: is a device or a pipe, expected the name of a file to write")
        target = path.resolve() if path.is_symlink() else path
        part = _part(target)
    except OSError as error:
        raise _refusal(path, error) from error
    try:
        yield part
        part.replace(target)
    except OSError as error:
        if error.filename is not None and Path(os.fsdecode(error.filename)) not in (path, target, part):
            # Something that was needed to make the content.
            raise OutputError(
                f"{os.fsdecode(error.filename)}: cannot be used ({error.strerror}) while {path.name} is written"
            ) from error
        raise _refusal(path, error) from error
    finally:
        with suppress(OSError):  # what was refused a moment ago is not there, and another error is on its way
            part.unlink(missing_ok=True)


def check_file(path: Path) -> None:
    """Asks before long work whether its result can be written. Errors: OutputError."""
    try:
        if path.is_dir():
            raise OutputError(f"{path}: is a folder, expected the name of a file to write")
        if _is_special(path):
            return
        part = _part(path.resolve() if path.is_symlink() else path)
        part.touch()
        part.unlink()
    except OSError as error:
        raise _refusal(path, error) from error


def write_file(path: Path, content: bytes) -> None:
    """Writes a whole file or none; into a device or pipe. Errors: OutputError."""
    try:
        if _is_special(path):
            path.write_bytes(content)
            return
    except OSError as error:
        raise _refusal(path, error) from error
    with written_aside(path) as part:
        part.write_bytes(content)


def _is_special(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()


def _part(path: Path) -> Path:
    name = path.name + PART_SUFFIX
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = hashlib.sha256(os.fsencode(path.name)).hexdigest() + path.suffix[:8] + PART_SUFFIX
    return path.with_name(name)


def _refusal(path: Path, error: OSError) -> OutputError:
    if error.errno in _FULL:
        try:
            free = f"{shutil.disk_usage(path.parent).free / 1e6:.1f} MB free"
        except OSError:
            free = "free space unknown"
        return OutputError(f"{path}: the disk is full ({error.strerror}; {free}); free some space or write elsewhere")
    return OutputError(f"{path}: cannot be written ({error.strerror}), expected a folder that can be written to")
