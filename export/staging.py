"""A folder that appears whole or not at all."""

import errno
import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glus_edge.runtime.errors import OutputError

KEY = "resume.key"  # in a folder that can be gone on with
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
        _rename(partial, target)
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def resumable_folder(target: Path, overwrite: bool, key: str) -> Iterator[Path]:
    """As `new_folder`, but a full disk, Ctrl-C or a kill leaves '.NAME.partial', which the next one goes on with.

    `key`: all that the contents follow from; a folder left with another key is begun anew, and so is one in which no long
    part was begun (a file '*.journal'). OutputError too where another process is writing to the same target.
    """
    _check(target, overwrite)
    partial = target.with_name(f".{target.name}.partial")
    with _locked(target) as lock:
        stored = partial / KEY
        keep = False
        try:
            if stored.is_file() and stored.read_text(encoding="utf-8") != key:
                shutil.rmtree(partial)
            partial.mkdir(exist_ok=True)
            stored.write_text(key, encoding="utf-8")
            yield partial
            stored.unlink()
            _rename(partial, target)
        except OSError as error:
            keep = error.errno in OUT_OF_SPACE and _begun(partial)
            raise _unwritable(target, error, "; the same command goes on where it stopped" if keep else "") from error
        except KeyboardInterrupt:
            keep = _begun(partial)
            raise
        finally:
            if not keep:
                shutil.rmtree(partial, ignore_errors=True)
            lock.unlink(missing_ok=True)


def _begun(partial: Path) -> bool:
    return any(path.stat().st_size for path in partial.glob("*.journal"))


@contextmanager
def _locked(target: Path) -> Iterator[Path]:
    """A file beside the target that only one process can hold; a killed one lets go of it."""
    path = target.with_name(f".{target.name}.lock")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w", encoding="utf-8")
    except OSError as error:
        raise _unwritable(target, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(
                f"{target}: another process is writing it; wait for it, or give another --output"
            ) from error
        except OSError as error:  # a file system without locks
            raise _unwritable(target, error) from error
        yield path


def _rename(partial: Path, target: Path) -> None:
    partial.chmod(0o755)  # mkdtemp gives a folder that only its owner can read
    if target.exists():
        replaced = partial.with_name(partial.name + "-replaced")
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
    if not any(target.iterdir()):
        return
    if not overwrite:
        raise OutputError(f"{target}: exists already; give another --output, or --overwrite to replace it")
    if not (target / "manifest.json").is_file():
        raise OutputError(f"{target}: is no bundle (no manifest.json) and is not overwritten; give another --output")


def _unwritable(target: Path, error: OSError, more: str = "") -> OutputError:
    fix = "free some space" if error.errno in OUT_OF_SPACE else "give another --output"
    return OutputError(f"{target}: cannot be written ({error.strerror or error}); {fix}{more}")
