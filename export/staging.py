"""A folder that appears whole or not at all."""

import errno
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glus_edge.runtime.errors import OutputError

OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def new_folder(target: Path, overwrite: bool) -> Iterator[Path]:
    """Gives a temporary sibling of `target` to write into; renamed to it at the end, removed on any error or Ctrl-C.

    `overwrite` replaces an earlier bundle, and nothing else. Raises OutputError where the target is in the way, or the
    disk is full or read-only.
    """
    _check(target, overwrite)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.partial-", dir=target.parent))
    except OSError as error:
        raise _unwritable(target, error) from error
    try:
        yield partial
        partial.chmod(0o755)  # mkdtemp gives a folder that only its owner can read
        if target.exists():
            replaced = partial.with_name(partial.name + "-replaced")
            target.rename(replaced)
            partial.rename(target)
            shutil.rmtree(replaced)
        else:
            partial.rename(target)
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check(target: Path, overwrite: bool) -> None:
    if not target.exists() and not target.is_symlink():
        return
    if not target.is_dir() or target.is_symlink():
        raise OutputError(f"{target}: is not a folder; give another --output")
    if not any(target.iterdir()):
        return
    if not overwrite:
        raise OutputError(f"{target}: exists already; give another --output, or --overwrite to replace it")
    if not (target / "manifest.json").is_file():
        raise OutputError(f"{target}: is no bundle (no manifest.json) and is not overwritten; give another --output")


def _unwritable(target: Path, error: OSError) -> OutputError:
    fix = "free some space" if error.errno in OUT_OF_SPACE else "give another --output"
    return OutputError(f"{target}: cannot be written ({error.strerror or error}); {fix}")
