"""How much memory a comparison in ONNX Runtime needs, and how much there is."""

import os
from pathlib import Path

GIB = 1 << 30
# Resident bytes per byte of weights: the session's own copy, packed copies of matrices, and half precision computed in
# float32 on the CPU.
BYTES_PER_WEIGHT_BYTE = {"fp32": 2.2, "fp16": 4.2, "int8": 5.2, "int4": 2.5}
SLACK_BYTES = GIB


def needed_bytes(weights_bytes: int, weights: str) -> int:
    """Resident memory of an ONNX Runtime session on the CPU, for weights of this many bytes stored as `weights`."""
    return int(weights_bytes * BYTES_PER_WEIGHT_BYTE[weights]) + SLACK_BYTES


def available_bytes() -> int:
    """Memory that can be had without swapping; all there is where the system does not say."""
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        for line in meminfo.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 1 << 62
