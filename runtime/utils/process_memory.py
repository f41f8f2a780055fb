"""Memory that was freed, given back to the system."""

import ctypes
import os


def return_freed_memory() -> None:
    """glibc keeps what is freed for later: 1 GiB after a 7B is loaded. Elsewhere there is nothing to be asked for."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)
