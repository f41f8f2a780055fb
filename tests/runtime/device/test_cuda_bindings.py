"""CudaBindings over a stand-in of cuda.bindings.runtime: calls give a status first, as the library's do."""

import importlib
import sys
import types
from enum import Enum

import pytest

from glus_edge.runtime.bundle.shipped import shipped_bundle
from glus_edge.runtime.cli import main
from glus_edge.runtime.commands import build
from glus_edge.runtime.errors import EngineError
from tests.runtime.cuda_double import CudaDouble
from tests.runtime.tensorrt_double import tensorrt_double

MODULE = "glus_edge.runtime.device.cuda_bindings"


class Error(Enum):
    cudaSuccess = 0  # noqa: N815 - the library's names
    cudaErrorInvalidValue = 1  # noqa: N815
    cudaErrorMemoryAllocation = 2  # noqa: N815
    cudaErrorDevicesUnavailable = 46  # noqa: N815
    cudaErrorInsufficientDriver = 35  # noqa: N815


class Runtime(types.ModuleType):
    """Every function succeeds with what `answers` holds for it; `failing` ones do not."""

    cudaError_t = Error  # noqa: N815
    cudaMemoryType = Enum("cudaMemoryType", ["cudaMemoryTypeUnregistered", "cudaMemoryTypeDevice"])  # noqa: N815
    cudaMemcpyKind = Enum("cudaMemcpyKind", ["cudaMemcpyDeviceToDevice"])  # noqa: N815
    cudaEventDisableTiming = 2  # noqa: N815

    def __init__(self):
        super().__init__("cuda.bindings.runtime")
        properties = types.SimpleNamespace(
            name=b"NVIDIA L4\0\0", major=8, minor=9, totalGlobalMem=24 << 30, integrated=0, multiProcessorCount=58
        )
        self.answers = {
            "cudaGetDeviceCount": (1,),
            "cudaGetDeviceProperties": (properties,),
            "cudaDriverGetVersion": (13000,),
            "cudaStreamEndCapture": (70,),
            "cudaGraphInstantiate": (71,),
            "cudaEventCreateWithFlags": (72,),
        }
        self.failing, self.called = {}, []

    def __getattr__(self, name):
        if not name.startswith("cuda"):
            raise AttributeError(name)

        def call(*arguments):
            self.called.append((name, arguments))
            return (self.failing.get(name, Error.cudaSuccess), *self.answers.get(name, ()))

        call.__name__ = name
        return call


@pytest.fixture
def runtime(monkeypatch):
    runtime, bindings, package = Runtime(), types.ModuleType("cuda.bindings"), types.ModuleType("cuda")
    bindings.runtime = runtime
    for name, module in (("cuda", package), ("cuda.bindings", bindings), ("cuda.bindings.runtime", runtime)):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    yield runtime
    sys.modules.pop(MODULE, None)


def opened():
    return importlib.import_module(MODULE).CudaBindings()


def test_it_knows_its_device(runtime):
    gpu = opened().gpu
    assert gpu.label == "NVIDIA L4 (compute capability 8.9, 58 SMs)"
    assert (gpu.driver, gpu.integrated) == ("13.0", False)


def no_library():
    raise RuntimeError("Failed to dlopen libcuda.so.1")


def insufficient_driver(runtime, version):
    runtime.failing["cudaGetDeviceCount"] = Error.cudaErrorInsufficientDriver
    runtime.answers |= {"cudaGetDeviceCount": (None,), "cudaDriverGetVersion": (version,)}


# As cuda-bindings 12.8 says it, as later ones do, and where there is a driver that is too old.
DRIVERS = {
    "no driver (Failed to dlopen libcuda.so.1)": lambda runtime: setattr(runtime, "cudaGetDeviceCount", no_library),
    "no driver": lambda runtime: insufficient_driver(runtime, 0),
    "a driver for CUDA 12.6, too old for this cuda-bindings": lambda runtime: insufficient_driver(runtime, 12060),
}


@pytest.fixture(params=DRIVERS)
def without_driver(request, runtime):
    DRIVERS[request.param](runtime)
    return f"CUDA: got {request.param}, expected an NVIDIA GPU and its driver"


def test_without_a_usable_driver_it_is_one_line(without_driver):
    with pytest.raises(EngineError) as caught:
        opened()
    assert str(caught.value) == f"{without_driver}; see `glus-edge doctor`"


def test_build_says_in_one_line_that_there_is_no_usable_driver(without_driver, monkeypatch, capsys):
    monkeypatch.setattr(build, "load_tensorrt", lambda library, **_: tensorrt_double(CudaDouble()))
    assert main(["build", str(shipped_bundle()), "--no-gate"]) == 2
    assert capsys.readouterr().err.splitlines() == [f"glus-edge: error: {without_driver}; see `glus-edge doctor`"]


def test_doctor_says_in_one_line_that_there_is_no_usable_driver(without_driver, capsys):
    assert main(["doctor"]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("  GPU "))
    assert line == f"  GPU                 none usable ({without_driver})"


def test_a_call_that_fails_names_itself(runtime):
    cuda = opened()
    runtime.failing["cudaMalloc"] = Error.cudaErrorInvalidValue
    with pytest.raises(EngineError, match="CUDA cudaMalloc: got cudaErrorInvalidValue"):
        cuda.allocate(1)


def test_memory_that_is_not_there_is_one_line_with_what_would_fit(runtime):
    cuda = opened()
    runtime.failing["cudaMalloc"], runtime.answers["cudaMemGetInfo"] = (
        Error.cudaErrorMemoryAllocation,
        (10**9, 24 << 30),
    )
    with pytest.raises(
        EngineError, match=r"request for 3000.0 MB, expected at most the 1000.0 MB that are free of 25.8 GB"
    ):
        cuda.allocate(3 * 10**9)
    assert runtime.called[-2][0] == "cudaGetLastError", "or the next call would fail for it"


def test_a_gpu_that_another_process_has_for_itself_is_one_line(runtime):
    runtime.failing["cudaSetDevice"] = Error.cudaErrorDevicesUnavailable
    with pytest.raises(EngineError, match="another process has it for itself: wait until that ends"):
        opened()


def test_another_librarys_stream_is_waited_for_by_the_device(runtime):
    cuda = opened()
    runtime.called.clear()
    cuda.follow(5, 1)
    assert runtime.called == [
        ("cudaEventCreateWithFlags", (2,)),
        ("cudaEventRecord", (72, 1)),
        ("cudaStreamWaitEvent", (5, 72, 0)),
        ("cudaEventDestroy", (72,)),
    ]


def test_an_address_cuda_does_not_know_has_no_device_and_leaves_no_error_behind(runtime):
    cuda = opened()
    kinds = runtime.cudaMemoryType
    runtime.answers["cudaPointerGetAttributes"] = (types.SimpleNamespace(type=kinds.cudaMemoryTypeDevice, device=1),)
    assert cuda.memory_device(4096) == 1
    runtime.answers["cudaPointerGetAttributes"] = (
        types.SimpleNamespace(type=kinds.cudaMemoryTypeUnregistered, device=0),
    )
    assert cuda.memory_device(4096) is None
    runtime.failing["cudaPointerGetAttributes"] = Error.cudaErrorInvalidValue
    assert cuda.memory_device(4096) is None
    assert runtime.called[-1][0] == "cudaGetLastError"


def test_a_recording_that_cannot_be_instantiated_is_given_back(runtime):
    cuda = opened()
    assert cuda.end_capture(5) == 71
    runtime.failing["cudaGraphInstantiate"] = Error.cudaErrorInvalidValue
    with pytest.raises(EngineError, match="cudaGraphInstantiate"):
        cuda.end_capture(5)
    assert runtime.called[-1] == ("cudaGraphDestroy", (70,))
