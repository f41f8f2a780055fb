"""NVIDIA devices this is made for: what each has, and the precision every graph starts from there.

No row claims that a run took place.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DeviceClass:
    """One row."""

    name: str
    matches: tuple[str, ...]  # parts of the name CUDA gives the device, lower case
    compute_capabilities: tuple[str, ...]
    tensorrt: str  # versions that come with it or run on it
    vision: str  # precision of the five vision graphs: 'fp16' or 'fp32'
    language: str  # the language model's weights: 'int4' or 'fp16'
    library: str = "tensorrt"  # what builds for it
    why: str = ""


DEVICES = (
    DeviceClass(
        "Jetson Orin Nano",
        ("orin nano",),
        ("8.7",),
        "10.3 (JetPack 6), 10.16 (JetPack 7.2)",
        "fp16",
        "int4",
        why="a 7B language model does not fit in 8 GiB beside the host: for smaller models",
    ),
    DeviceClass("Jetson Orin NX", ("orin nx",), ("8.7",), "10.3, 10.16", "fp16", "int4", why="7B needs 16 GiB"),
    DeviceClass(
        "Jetson AGX Orin",
        ("agx orin", "orin"),  # CUDA calls every Orin 'Orin': without the board's name it is taken for the largest
        ("8.7",),
        "10.3, 10.16",
        "fp16",
        "int4",
        why="at about 110 new tokens a frame the prefill is bound by memory bandwidth: int4 pays",
    ),
    DeviceClass("Jetson Thor", ("thor",), ("10.1", "11.0"), "10.13 (JetPack 7.1), 10.16 (JetPack 7.2)", "fp16", "int4"),
    DeviceClass("A100", ("a100",), ("8.0",), "10.3 to 11", "fp16", "fp16"),
    DeviceClass("L4", ("nvidia l4",), ("8.9",), "10.3 to 11", "fp16", "int4"),
    DeviceClass("H100", ("h100", "h200", "gh200"), ("9.0",), "10.3 to 11", "fp16", "fp16"),
    DeviceClass(
        "RTX",
        ("rtx",),
        ("7.5", "8.6", "8.9", "12.0", "12.1"),
        "10.3 to 11, or TensorRT for RTX 1.x",
        "fp16",
        "int4",
        library="tensorrt-rtx",
    ),
)


def device_class(name: str, compute_capability: str, board: str = "") -> DeviceClass | None:
    """The row of a device by the board's name and CUDA's, then by its compute capability; None: not in the table.

    `board`: of a Jetson, whose generation has one name in CUDA; see `board_name`.
    """
    lowered = f"{board} {name}".lower()
    for row in DEVICES:
        if compute_capability in row.compute_capabilities and any(part in lowered for part in row.matches):
            return row
    return next((row for row in DEVICES if compute_capability in row.compute_capabilities), None)


def board_name(model_file: Path = Path("/proc/device-tree/model")) -> str:
    """What a Jetson calls itself, 'NVIDIA Jetson Orin NX Engineering Reference Developer Kit'; '' elsewhere."""
    try:
        return model_file.read_text(encoding="utf-8", errors="replace").strip("\0 \n")
    except OSError:
        return ""
