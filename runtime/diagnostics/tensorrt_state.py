"""What of CUDA and TensorRT this process can really use: for `glus-edge doctor`."""

import re
from dataclasses import dataclass
from pathlib import Path

from glus_edge.runtime.device.cuda_api import Gpu
from glus_edge.runtime.device.open_cuda import open_cuda
from glus_edge.runtime.diagnostics.device_table import board_name, device_class
from glus_edge.runtime.errors import EngineError
from glus_edge.runtime.tensorrt.library import LIBRARIES, load_tensorrt

# L4T release -> JetPack, newest first (developer.nvidia.com/embedded/jetpack-archive)
_JETPACKS = ((38, "7.0 or 7.1"), (36, "6"), (35, "5"))


@dataclass(frozen=True)
class TensorRtState:
    """What was found."""

    gpu: Gpu | None
    gpu_error: str  # why there is none; '' with one
    cuda_interface: str  # 'cuda-python' or 'pycuda'; '' without
    free_bytes: int | None  # device memory free now
    versions: dict[str, str]  # of the TensorRT libraries that import
    errors: dict[str, str]  # of those that do not
    jetpack: str | None  # '6', '7.0 or 7.1': from the board's L4T release
    starts_from: str | None  # row of the device table: precisions that graphs start from


def tensorrt_state() -> TensorRtState:
    """Opens CUDA and imports each TensorRT; nothing is built."""
    gpu, error, interface, free = None, "", "", None
    try:
        cuda = open_cuda()
        gpu, interface, free = cuda.gpu, cuda.name, cuda.free_bytes()
    except EngineError as caught:
        error = str(caught).partition("; see")[0]
    versions, errors = {}, {}
    for library in LIBRARIES:
        try:
            versions[library] = load_tensorrt(library).version
        except EngineError as caught:
            errors[library] = str(caught)
    row = device_class(gpu.name, gpu.compute_capability, board_name()) if gpu is not None else None
    starts = f"{row.name}: vision {row.vision}, language weights {row.language}" if row is not None else None
    return TensorRtState(gpu, error, interface, free, versions, errors, jetpack(), starts)


def jetpack(release_file: Path = Path("/etc/nv_tegra_release")) -> str | None:
    """The JetPack of this board, from its L4T release ('# R36 (release), REVISION: 4.3'); None: no Jetson."""
    try:
        text = release_file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(r"R(\d+)", text)
    if found is None:
        return None
    major = int(found.group(1))
    return next((name for release, name in _JETPACKS if release == major), f"of L4T R{major}")


def state_lines(state: TensorRtState) -> list[str]:
    """The state as lines of text."""
    lines = ["CUDA and TensorRT"]
    if state.gpu is None:
        lines.append(f"  GPU                 none usable ({state.gpu_error})")
    else:
        free = "" if state.free_bytes is None else f", {state.free_bytes / 1e9:.1f} GB free"
        lines.append(f"  GPU                 {state.gpu.label}, {state.gpu.memory_bytes / 1e9:.1f} GB{free}")
        lines.append(f"  driver              CUDA {state.gpu.driver}, through {state.cuda_interface}")
    if state.jetpack is not None:
        lines.append(f"  JetPack             {state.jetpack}")
    if state.starts_from is not None:
        lines.append(f"  graphs start from   {state.starts_from}")
    lines += [f"  {library:<20}{version}" for library, version in state.versions.items()]
    lines += [f"  {library:<20}not usable" for library in state.errors]
    return lines
