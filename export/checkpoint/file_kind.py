"""What lies in the place of a checkpoint's file: said by name before any library stumbles over it."""

from pathlib import Path

from glus_edge.runtime.errors import CheckpointError

HEAD_BYTES = 256
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_WEB_PAGE = (b"<!doctype html", b"<html")


def check_file_kind(path: Path) -> bytes:
    """The first bytes of a regular file. Raises CheckpointError for a device or pipe, a Git LFS pointer or a web page."""
    try:
        if path.exists() and not path.is_file():
            raise CheckpointError(f"{path}: is no regular file; give a folder of files")
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: does not exist; give the complete folder") from error
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error.strerror}); check the file and its permissions"
        ) from error
    if head.startswith(LFS_POINTER):
        raise CheckpointError(
            f"{path}: is a Git LFS pointer, not the file it stands for; run 'git lfs pull' in {path.parent}, or download "
            "the file itself"
        )
    if head.lstrip().lower().startswith(_WEB_PAGE):
        raise CheckpointError(
            f"{path}: is a web page, not the file; download it again, signed in if its source asks so"
        )
    return head
