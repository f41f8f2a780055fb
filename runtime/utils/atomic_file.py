"""Files that are whole or absent: written aside, then renamed."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glus_edge.runtime.errors import OutputError

PART_SUFFIX = ".part"  # of a file being written; a leftover after a crash is safe to delete

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Gives a path to write to; the file takes its name only if the block ends well, and is removed otherwise.

    Errors: OutputError for what the file system refuses, a full disk by name.
    """
    part = path.with_name(path.name + PART_SUFFIX)
    try:
        yield part
        part.replace(path)
    except OSError as error:
        raise _refusal(path, error) from error
    finally:
        part.unlink(missing_ok=True)


def check_file(path: Path) -> None:
    """Asks before long work whether its result can be written. Errors: OutputError."""
    try:
        if path.is_dir():
            raise OutputError(f"{path}: is a folder, expected the name of a file to write")
        part = path.with_name(path.name + PART_SUFFIX)
        part.touch()
        part.unlink()
    except OSError as error:
        raise _refusal(path, error) from error


def write_file(path: Path, content: bytes) -> None:
    """Writes a whole file or none. Errors: OutputError."""
    with written_aside(path) as part:
        part.write_bytes(content)


def _refusal(path: Path, error: OSError) -> OutputError:
    if error.errno in _FULL:
        try:
            free = f"{shutil.disk_usage(path.parent).free / 1e6:.1f} MB free"
        except OSError:
            free = "free space unknown"
        return OutputError(f"{path}: the disk is full ({error.strerror}; {free}); free some space or write elsewhere")
    return OutputError(f"{path}: cannot be written ({error.strerror}), expected a folder that can be written to")
