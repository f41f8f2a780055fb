"""Files of a bundle on their way into another."""

import os
import shutil
from pathlib import Path

from glus_edge.runtime.bundle.bundle import Bundle, sha256
from glus_edge.runtime.bundle.manifest import FileEntry, Manifest, files


def copied(source: Bundle, entry: FileEntry, folder: Path) -> None:
    """Puts a file into `folder`: a second name for it where the disk allows, a copy elsewhere."""
    try:
        os.link(source.directory / entry.file, folder / entry.file)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source.directory / entry.file, folder / entry.file)


def file_entry(path: Path) -> FileEntry:
    """Name, hash and size of a file."""
    return FileEntry(path.name, sha256(path), path.stat().st_size)


def size_bytes(manifest: Manifest) -> int:
    """All files a manifest names."""
    return sum(entry.size_bytes for entry in files(manifest))
