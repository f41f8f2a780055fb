"""`glus-edge doctor`: what this machine can run glus-edge on, what is missing, and how to mend it."""

import argparse
import json
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.signatures import Limits
from glus_edge.runtime.diagnostics.execution_providers import ProviderState
from glus_edge.runtime.diagnostics.memory_plan import MemoryPlan, memory_plan, plan_lines
from glus_edge.runtime.diagnostics.onnxruntime_files import OnnxRuntimeFiles, onnxruntime_files
from glus_edge.runtime.diagnostics.tensorrt_state import TensorRtState, state_lines, tensorrt_state
from glus_edge.runtime.utils.machine import FreeSpace, NvidiaDevices, Processor, disk, memory, nvidia_devices, processor
from glus_edge.runtime.utils.schema import to_json

REQUIRED = ("numpy", "onnxruntime", "tokenizers", "av", "pillow", "opencv-python-headless", "tqdm")
OPTIONAL = (
    *("onnxruntime-gpu", "openvino", "tensorrt", "tensorrt_rtx", "tensorrt-rtx-cu13-bindings"),
    *("cuda-bindings", "cuda-python", "pycuda", "torch", "sam2"),
)
# Another distribution of the same module serves as well.
_SUBSTITUTES = {
    "onnxruntime": ("onnxruntime-gpu",),
    "opencv-python-headless": ("opencv-python", "opencv-contrib-python"),
}

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
LITTLE_MEMORY_BYTES = 4 << 30
LITTLE_DISK_BYTES = 2 << 30


@dataclass(frozen=True)
class Problem:
    """Something to mend."""

    found: str
    fix: str
    fatal: bool  # nothing can be segmented before it is mended


@dataclass(frozen=True)
class Report:
    """All that is looked at."""

    python: str
    platform: str
    packages: dict[str, str | None]  # version of each distribution, None if it is not installed
    processor: Processor
    memory: FreeSpace | None
    disk: FreeSpace  # of the current folder
    nvidia: NvidiaDevices
    providers: tuple[ProviderState, ...]  # of ONNX Runtime, each tried
    providers_error: str | None  # why ONNX Runtime could not be asked at all
    onnxruntime: OnnxRuntimeFiles
    h264: bool  # whether PyAV can write the overlay
    tensorrt: TensorRtState
    plan: MemoryPlan | None = None  # of the bundle asked about


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--bundle", type=Path, help="say what this bundle's engines need and whether they fit here")
    parser.add_argument("--sentences", type=int, default=1, help="asked in one batch (default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Prints the report; the exit code is 2 if nothing can be segmented here."""
    limits = Limits(sentences=arguments.sentences)
    plan = memory_plan(Bundle.open(arguments.bundle).manifest, limits) if arguments.bundle is not None else None
    report = replace(examine(), plan=plan)
    found = problems(report)
    if arguments.json:
        print(json.dumps({**to_json(report), "problems": to_json(found)}, indent=2))
    else:
        print("\n".join([*describe(report), "", *_described_problems(found)]))
    return 2 if any(problem.fatal for problem in found) else 0


def examine() -> Report:
    """Looks at everything; a tiny graph is run on each execution provider."""
    providers, providers_error = _providers()
    return Report(
        python=f"{platform.python_implementation()} {platform.python_version()} ({sys.executable})",
        platform=platform.platform(),
        packages={name: _version(name) for name in (*REQUIRED, *OPTIONAL)},
        processor=processor(),
        memory=memory(),
        disk=disk(Path.cwd()),
        nvidia=nvidia_devices(),
        providers=providers,
        providers_error=providers_error,
        onnxruntime=onnxruntime_files(),
        h264=_writes_h264(),
        tensorrt=tensorrt_state(),
    )


def problems(report: Report) -> tuple[Problem, ...]:
    """What is wrong with a machine, the worst first."""
    return tuple(sorted(_problems(report), key=lambda problem: not problem.fatal))


def describe(report: Report) -> Iterator[str]:
    """The report as lines of text."""
    cpu = report.processor
    yield f"Python      {report.python}"
    yield f"platform    {report.platform}"
    yield f"processor   {cpu.name}, {cpu.usable_threads} of {cpu.threads} threads usable"
    yield f"            {' '.join(cpu.features) or 'features unknown'}"
    if report.memory is not None:
        yield f"memory      {_gigabytes(report.memory)}"
    yield f"disk        {_gigabytes(report.disk)} (current folder)"
    if report.nvidia.present:
        yield f"NVIDIA      {'; '.join(filter(None, (report.nvidia.jetson, *report.nvidia.gpus))) or 'a driver is present'}"
    else:
        yield "NVIDIA      no device seen"
    yield "packages"
    for name, installed in report.packages.items():
        yield f"  {name:<28}{installed or 'not installed'}"
    yield "execution providers of ONNX Runtime"
    for provider in report.providers:
        yield f"  {provider.name:<28}{'usable' if provider.usable else 'NOT usable'} ({provider.detail})"
    if report.providers_error is not None:
        yield f"  cannot be asked: {report.providers_error}"
    yield from state_lines(report.tensorrt)
    if report.plan is not None:
        yield "device memory of the bundle's engines"
        yield from plan_lines(report.plan)


def _described_problems(found: tuple[Problem, ...]) -> Iterator[str]:
    if not found:
        yield "No problem found."
    for problem in found:
        yield f"{'PROBLEM' if problem.fatal else 'note'}: {problem.found}"
        yield f"  fix: {problem.fix}"


def _problems(report: Report) -> Iterator[Problem]:
    packages = report.packages
    for name in REQUIRED:
        if packages[name] is None and not any(map(_version, _SUBSTITUTES.get(name, ()))):
            yield Problem(f"the package {name} is not installed", f"pip install {name}", fatal=True)
    if report.providers_error is not None:
        yield Problem(
            f"ONNX Runtime cannot be used: {report.providers_error}", "pip install --force-reinstall onnxruntime", True
        )
    states = {provider.name: provider for provider in report.providers}
    if report.providers_error is None and not (CPU in states and states[CPU].usable):
        yield Problem("ONNX Runtime's CPU provider does not work", "pip install --force-reinstall onnxruntime", True)
    yield from _onnxruntime_problems(report.onnxruntime)
    if report.nvidia.present and report.providers_error is None and CUDA not in states:
        yield Problem(
            "an NVIDIA device, but this ONNX Runtime is built for the CPU only",
            _onnxruntime_gpu_fix(report.tensorrt),
            fatal=False,
        )
    for provider in report.providers:
        if not provider.usable and provider.name != CPU:
            yield Problem(
                f"{provider.name} is listed but does not work: {provider.detail}",
                "install the CUDA, cuDNN or TensorRT release this ONNX Runtime was built for, or do not use it",
                fatal=False,
            )
    tensorrt = packages["tensorrt"] or packages["tensorrt_rtx"]
    if tensorrt is not None and not any(packages[name] for name in ("cuda-bindings", "cuda-python", "pycuda")):
        yield Problem(
            "TensorRT without a way to CUDA memory",
            "pip install cuda-bindings of the driver's CUDA major version: 'cuda-bindings<13' for CUDA 12 and JetPack 6",
            fatal=False,
        )
    yield from _device_problems(report)
    if not report.h264:
        yield Problem(
            "PyAV cannot write H.264, which overlay.mp4 needs", "pip install --force-reinstall av", fatal=True
        )
    if report.memory is not None and report.memory.free_bytes < LITTLE_MEMORY_BYTES:
        yield Problem(
            f"little memory: {_gigabytes(report.memory)}", "close other programs or use a smaller bundle", False
        )
    if report.disk.free_bytes < LITTLE_DISK_BYTES:
        yield Problem(f"little disk: {_gigabytes(report.disk)}", "free some space or write elsewhere", fatal=False)


def _onnxruntime_problems(files: OnnxRuntimeFiles) -> Iterator[Problem]:
    names = sorted(files.packages)
    kept = next(
        (name for name in names if name != "onnxruntime"), "onnxruntime"
    )  # the others have the CPU provider too
    wanted = "'onnxruntime-gpu[cuda,cudnn]'" if kept == "onnxruntime-gpu" else kept
    fix = f"pip uninstall -y {' '.join(names)} && pip install {wanted}"
    if files.mixed:
        whole = [name for name in names if name not in files.damaged]
        lie = f"the files there are those of {' and '.join(whole)}" if whole else "the files there are of neither alone"
        yield Problem(f"{' and '.join(names)} are both installed and own the same files; {lie}", fix, fatal=False)
    elif files.damaged:
        yield Problem(f"files of {names[0]} are missing or not its own", fix, fatal=False)


def _device_problems(report: Report) -> Iterator[Problem]:
    state = report.tensorrt
    if report.nvidia.present and state.gpu is None:
        yield Problem(
            f"an NVIDIA device that Python cannot use: {state.gpu_error}",
            "pip install cuda-bindings of the driver's CUDA major version ('cuda-bindings<13' for CUDA 12 and JetPack 6); in "
            "a container pass --gpus all, on a Jetson --runtime nvidia",
            fatal=False,
        )
    if state.gpu is None:
        return
    if not state.versions:
        yield Problem(
            f"{state.gpu.name}, but no TensorRT: {'; '.join(state.errors.values())}",
            "pip install 'glus-edge[tensorrt]'; on a Jetson sudo apt install python3-libnvinfer and make the virtual "
            "environment with the system's Python and --system-site-packages",
            fatal=False,
        )
    if report.plan is not None and not report.plan.fits(state.gpu.memory_bytes, state.gpu.integrated):
        yield Problem(
            f"the bundle needs about {report.plan.total / 1e9:.1f} GB, {state.gpu.name} has "
            f"{state.gpu.memory_bytes / 1e9:.1f} GB{', shared with the host' if state.gpu.integrated else ''}",
            "export with --language-weights int4, build with fewer --sentences or --new-tokens, or take a larger device",
            fatal=False,
        )


def _onnxruntime_gpu_fix(state: TensorRtState) -> str:
    if state.jetpack == "6":
        return "nothing on PyPI for JetPack 6 (Python 3.10 on ARM): use --backend tensorrt"
    driver_12 = state.gpu is not None and state.gpu.driver.startswith("12.")
    release = "<1.31" if driver_12 else ""  # later ones need CUDA 13
    return (
        f"pip uninstall -y onnxruntime && pip install 'onnxruntime-gpu[cuda,cudnn]{release}', or use --backend tensorrt"
    )


def _providers() -> tuple[tuple[ProviderState, ...], str | None]:
    try:
        # Here, so that a missing or broken ONNX Runtime is a finding and not the end of the examination.
        from glus_edge.runtime.diagnostics.execution_providers import check_providers
    except ImportError as error:
        return (), " ".join(str(error).split())
    return check_providers(), None


def _writes_h264() -> bool:
    try:
        import av
    except ImportError:
        return False
    return "libx264" in av.codecs_available


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _gigabytes(space: FreeSpace) -> str:
    return f"{space.free_bytes / 1e9:.1f} GB free of {space.total_bytes / 1e9:.1f} GB"
