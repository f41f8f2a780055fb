"""Files of others read whole: no device, no pipe, and no more than is reasonable."""

import errno
import os
from pathlib import Path

LARGEST_DOCUMENT = 64 << 20  # bytes of a JSON file


def read_regular(path: Path, largest: int = LARGEST_DOCUMENT) -> bytes:
    """The content. OSError: it cannot be read, is no regular file, or holds more than `largest` bytes."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(errno.EINVAL, "a device or a pipe, no regular file", os.fspath(path))
    with path.open("rb") as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise OSError(errno.EFBIG, f"more than {largest >> 20} MiB", os.fspath(path))
    return content
