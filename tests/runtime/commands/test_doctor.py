import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from glus_edge.runtime.cli import main
from glus_edge.runtime.commands import doctor
from glus_edge.runtime.device.cuda_api import Gpu
from glus_edge.runtime.diagnostics.execution_providers import ProviderState, check_providers, matrix_product
from glus_edge.runtime.diagnostics.onnxruntime_files import OnnxRuntimeFiles
from glus_edge.runtime.utils import machine
from glus_edge.runtime.utils.machine import FreeSpace, NvidiaDevices


@pytest.fixture(scope="module")
def healthy() -> doctor.Report:
    """A machine with nothing amiss, whatever this one is like."""
    report = doctor.examine()
    packages = {**report.packages, "onnxruntime": "1.20", "onnxruntime-gpu": None, "tensorrt": None}
    return replace(
        report,
        packages={**packages, "tensorrt_rtx": None},
        onnxruntime=OnnxRuntimeFiles({"onnxruntime": "1.20"}, ()),
        nvidia=NvidiaDevices(None, (), False),
        memory=FreeSpace(16 << 30, 8 << 30),
        disk=FreeSpace(100 << 30, 50 << 30),
        providers=(ProviderState("CPUExecutionProvider", True, "fine"),),
        tensorrt=replace(
            report.tensorrt, gpu=Gpu("L4", "8.9", 24 << 30, "13.0", False, 58), versions={"tensorrt": "10.13"}
        ),
    )


def test_the_cpu_provider_really_runs_a_graph() -> None:
    states = {state.name: state for state in check_providers()}
    assert states["CPUExecutionProvider"].usable


def test_the_graph_that_is_tried_is_a_matrix_product() -> None:
    session = onnxruntime.InferenceSession(matrix_product(), providers=["CPUExecutionProvider"])
    left, right = np.random.default_rng(0).random((2, 4, 4), np.float32)
    product = session.run(None, {"left": left, "right": right})[0]
    np.testing.assert_allclose(product, left @ right, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_cannot_be_loaded_is_not_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    (state,) = check_providers()
    assert not state.usable
    assert "\n" not in state.detail
    assert state.detail


def test_a_healthy_machine_has_no_problem(healthy: doctor.Report) -> None:
    assert doctor.problems(healthy) == ()


@pytest.mark.parametrize(
    ("change", "word", "fatal"),
    [
        ({"providers": (), "providers_error": "libgomp.so.1: no such file"}, "libgomp", True),
        ({"providers": (ProviderState("CPUExecutionProvider", False, "broken"),)}, "CPU provider", True),
        ({"nvidia": NvidiaDevices(None, ("H100",), True)}, "built for the CPU only", False),
        ({"memory": FreeSpace(2 << 30, 1 << 30)}, "little memory", False),
        ({"disk": FreeSpace(100 << 30, 1 << 30)}, "little disk", False),
        ({"h264": False}, "H.264", True),
        (
            {"onnxruntime": OnnxRuntimeFiles({"onnxruntime": "1.30", "onnxruntime-gpu": "1.30"}, ("onnxruntime-gpu",))},
            "are both installed and own the same files; the files there are those of onnxruntime",
            False,
        ),
        (
            {"onnxruntime": OnnxRuntimeFiles({"onnxruntime-gpu": "1.30"}, ("onnxruntime-gpu",))},
            "files of onnxruntime-gpu are missing or not its own",
            False,
        ),
        (
            {
                "providers": (
                    ProviderState("CPUExecutionProvider", True, "fine"),
                    ProviderState("CUDAExecutionProvider", False, "libcudnn.so.9 not found"),
                )
            },
            "libcudnn",
            False,
        ),
    ],
)
def test_each_problem_is_found_with_its_fix(
    healthy: doctor.Report, change: dict[str, object], word: str, fatal: bool
) -> None:
    (problem,) = doctor.problems(replace(healthy, **change))  # type: ignore[arg-type]
    assert word in problem.found
    assert problem.fix
    assert problem.fatal == fatal


@pytest.mark.parametrize(
    ("packages", "kept"),
    [
        ({"onnxruntime": "1.30", "onnxruntime-gpu": "1.30"}, "'onnxruntime-gpu[cuda,cudnn]'"),
        ({"onnxruntime": "1.30", "onnxruntime-openvino": "1.30"}, "onnxruntime-openvino"),
        ({"onnxruntime": "1.30"}, "onnxruntime"),
    ],
)
def test_packages_that_own_the_same_files_all_go_and_one_comes_back(
    healthy: doctor.Report, packages: dict[str, str], kept: str
) -> None:
    (problem,) = doctor.problems(replace(healthy, onnxruntime=OnnxRuntimeFiles(packages, tuple(packages))))
    assert problem.fix == f"pip uninstall -y {' '.join(packages)} && pip install {kept}"


@pytest.mark.parametrize(
    ("packages", "word", "fatal"),
    [
        ({"tokenizers": None}, "tokenizers is not installed", True),
        ({"tensorrt": "10.9", "pycuda": None, "cuda-python": None, "cuda-bindings": None}, "CUDA memory", False),
    ],
)
def test_packages_that_are_missing_or_clash_are_found(
    healthy: doctor.Report, packages: dict[str, str | None], word: str, fatal: bool
) -> None:
    (problem,) = doctor.problems(replace(healthy, packages={**healthy.packages, **packages}))
    assert word in problem.found
    assert problem.fatal == fatal


def test_cuda_bindings_alone_are_a_way_to_cuda_memory(healthy: doctor.Report) -> None:
    packages = {**healthy.packages, "tensorrt": "10.9", "pycuda": None, "cuda-python": None, "cuda-bindings": "12.6"}
    assert doctor.problems(replace(healthy, packages=packages)) == ()


@pytest.mark.parametrize(
    ("jetpack", "driver", "word"),
    [
        (None, "13.0", "install 'onnxruntime-gpu[cuda,cudnn]',"),
        (None, "12.8", "'onnxruntime-gpu[cuda,cudnn]<1.31'"),
        ("6", "12.6", "--backend tensorrt"),
    ],
)
def test_the_wheel_with_cuda_fits_the_driver(
    healthy: doctor.Report, jetpack: str | None, driver: str, word: str
) -> None:
    gpu = Gpu("GPU", "8.9", 24 << 30, driver, False, 58)
    state = replace(healthy.tensorrt, gpu=gpu, jetpack=jetpack)
    (problem,) = doctor.problems(replace(healthy, nvidia=NvidiaDevices(None, ("GPU",), True), tensorrt=state))
    assert word in problem.fix


def test_the_report_reads_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor"])
    text = capsys.readouterr().out
    assert code == 0
    for part in ("Python", "processor", "memory", "disk", "onnxruntime", "CPUExecutionProvider"):
        assert part in text
    assert "usable" in text


def test_the_report_is_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["packages"]["numpy"] == np.__version__
    assert report["processor"]["usable_threads"] >= 1
    assert isinstance(report["problems"], list)


def test_a_fatal_problem_is_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, healthy: doctor.Report, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: replace(healthy, h264=False))
    assert main(["doctor"]) == 2
    assert "PROBLEM: PyAV" in capsys.readouterr().out


def test_an_onnxruntime_that_cannot_be_imported_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "glus_edge.runtime.diagnostics.execution_providers", raising=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    report = doctor.examine()
    assert report.providers_error is not None
    assert any(problem.fatal for problem in doctor.problems(report))


def test_a_containers_limits_count(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "/proc/meminfo": "MemTotal: 16000000 kB\nMemAvailable: 12000000 kB\nHugePages_Total: 0\n",
        "/sys/fs/cgroup/memory.max": "4000000000\n",
        "/sys/fs/cgroup/memory.current": "1000000000\n",
        "/sys/fs/cgroup/cpu.max": "100000 100000\n",
        "/proc/cpuinfo": "processor: 0\nFeatures\t: fp asimd asimdhp asimddp\n",
    }
    monkeypatch.setattr(machine, "_text", lambda path: files.get(path, ""))
    assert machine.memory() == FreeSpace(4_000_000_000, 3_000_000_000)
    assert machine.usable_threads() == 1
    assert machine.processor().features == ("asimd", "asimdhp", "asimddp")


def test_a_system_that_tells_nothing_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_text", lambda path: "")
    assert machine.memory() is None
    assert machine.processor().features == ()


def test_the_disk_of_a_folder_is_measured(tmp_path: Path) -> None:
    space = machine.disk(tmp_path)
    assert 0 <= space.free_bytes <= space.total_bytes
