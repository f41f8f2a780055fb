"""Resident memory of this process: how much there is, and giving back what was freed."""

import ctypes
import os
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
    import resource  # here: Windows has none

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024  # bytes there, KiB elsewhere


def return_freed_memory() -> None:
    """glibc keeps what is freed for later: 1 GiB after a 7B is loaded. Elsewhere there is nothing to be asked for."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)
