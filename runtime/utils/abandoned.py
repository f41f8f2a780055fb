"""What a killed process left: files and folders that carry the number of the process that was writing them."""

import os
import shutil
from pathlib import Path


def remove_abandoned(folder: Path, pattern: str) -> None:
    """Deletes what matches and is named `....PROCESS.SUFFIX` after a process that is gone."""
    for path in folder.glob(pattern):
        process = path.name.split(".")[-2]
        if process.isdecimal() and not _runs(int(process)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # someone else's
        return True
    return True
