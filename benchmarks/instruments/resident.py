"""Resident memory of this process."""

import os
import resource
import sys
from pathlib import Path

_STATUS = Path("/proc/self/statm")


def resident_bytes() -> int | None:
    """Now; None on systems that do not say (no /proc)."""
    if not _STATUS.is_file():
        return None
    return int(_STATUS.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak_bytes() -> int:
    """The most there has been since the process began."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024  # bytes there, KiB elsewhere
