"""What `--backend auto` comes to, and why; a backend that is named stays the one that runs."""

import json
from types import SimpleNamespace

import pytest

from glus_edge.runtime import EngineError, Segmenter, SegmenterOptions
from glus_edge.runtime import open_backend as opening
from glus_edge.runtime.backends import speed
from glus_edge.runtime.backends.onnxruntime_engine import OnnxRuntimeBackend
from glus_edge.runtime.backends.speed import Speeds, cached_speeds
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.shipped import shipped_bundle
from glus_edge.runtime.cli import main
from glus_edge.runtime.open_backend import open_backend
from tests.runtime import golden
from tests.runtime.cuda_double import CudaDouble
from tests.runtime.onnxruntime_cuda_double import OnnxRuntimeDouble
from tests.runtime.opened_double import with_engines
from tests.runtime.tensorrt_double import tensorrt_double


@pytest.fixture
def bundle():
    return Bundle.open(shipped_bundle())


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "glus-edge" / "backend_speeds.json"


@pytest.fixture
def gpu(monkeypatch):
    cuda = CudaDouble()
    monkeypatch.setattr(opening, "open_cuda", lambda _: cuda)
    monkeypatch.setattr("glus_edge.runtime.backends.onnxruntime_cuda.open_cuda", lambda _: cuda)
    monkeypatch.setattr("glus_edge.runtime.tensorrt.engine.open_cuda", lambda _: cuda)
    return cuda


@pytest.fixture
def no_gpu(monkeypatch):
    def none(_):
        raise EngineError("CUDA: no device; buy one")

    monkeypatch.setattr(opening, "open_cuda", none)


def openvino_is(monkeypatch, installed, milliseconds=None):
    """`milliseconds`: of one run, by the library's name."""
    monkeypatch.setattr(opening.importlib.util, "find_spec", lambda _: SimpleNamespace() if installed else None)
    monkeypatch.setattr(opening, "load_openvino", lambda: SimpleNamespace(__version__="2026.0"))
    measured = []

    def run_ms(backend):
        measured.append(backend.name)
        return milliseconds[backend.name]

    monkeypatch.setattr(speed, "run_ms", run_ms)
    return measured


def test_without_gpu_and_openvino_the_processor_runs_it_and_both_reasons_are_given(bundle, no_gpu, monkeypatch):
    openvino_is(monkeypatch, installed=False)
    backend, pixels, choice = open_backend(bundle, SegmenterOptions())
    assert isinstance(backend, OnnxRuntimeBackend)
    assert pixels is None
    assert choice.line == "backend: onnxruntime (no GPU: CUDA: no device; openvino is not installed)"


@pytest.mark.parametrize(
    ("milliseconds", "wanted"),
    [({"onnxruntime": 90.0, "openvino": 40.0}, "openvino"), ({"onnxruntime": 30.0, "openvino": 40.0}, "onnxruntime")],
)
def test_the_faster_of_the_two_on_this_processor_is_taken_and_measured_once(
    bundle, no_gpu, monkeypatch, milliseconds, wanted
):
    measured = openvino_is(monkeypatch, installed=True, milliseconds=milliseconds)
    for _ in range(2):
        backend, _, choice = open_backend(bundle, SegmenterOptions())
        assert (backend.name, choice.backend) == (wanted, wanted)
        assert f"onnxruntime {milliseconds['onnxruntime']:.0f} ms, openvino 40 ms" in choice.reason
    assert measured == ["onnxruntime", "openvino"]


def test_another_version_processor_or_precision_is_measured_again(bundle, no_gpu, monkeypatch):
    measured = openvino_is(monkeypatch, installed=True, milliseconds={"onnxruntime": 1.0, "openvino": 2.0})
    open_backend(bundle, SegmenterOptions())
    monkeypatch.setattr(opening, "load_openvino", lambda: SimpleNamespace(__version__="2026.1"))
    open_backend(bundle, SegmenterOptions())
    monkeypatch.setattr(opening, "processor", lambda: SimpleNamespace(name="another"))
    open_backend(bundle, SegmenterOptions())
    assert len(measured) == 6


def test_an_openvino_that_cannot_run_it_is_a_reason(bundle, no_gpu, monkeypatch):
    openvino_is(monkeypatch, installed=True)

    def fails(_):
        raise EngineError("OpenVINO precision: got bf16, but this processor multiplies no bfloat16; use another")

    monkeypatch.setattr(speed, "run_ms", fails)
    _, _, choice = open_backend(bundle, SegmenterOptions())
    assert choice.backend == "onnxruntime"
    assert choice.reason.endswith("this processor multiplies no bfloat16")


def test_on_a_gpu_without_engines_onnx_runtime_runs_it_there(bundle, gpu, monkeypatch):
    OnnxRuntimeDouble(monkeypatch, gpu)
    backend, pixels, choice = open_backend(bundle, SegmenterOptions())
    assert (backend.name, choice.backend) == ("onnxruntime-cuda", "onnxruntime-cuda")
    assert choice.reason == "tensorrt: no engines; tensorrt-rtx: no engines; Test double"
    assert pixels is not None


def test_a_cuda_provider_that_does_not_load_is_a_reason(bundle, gpu, monkeypatch):
    OnnxRuntimeDouble(monkeypatch, gpu)
    openvino_is(monkeypatch, installed=False)
    monkeypatch.setattr("tests.runtime.onnxruntime_cuda_double.SessionDouble.get_providers", lambda _: ["CPU"])
    _, _, choice = open_backend(bundle, SegmenterOptions())
    assert choice.backend == "onnxruntime"
    assert (
        "onnxruntime-cuda: a product: asked for CUDAExecutionProvider, ONNX Runtime fell back to CPU" in choice.reason
    )


@pytest.mark.torch
def test_engines_that_were_built_for_this_gpu_come_first(golden_bundle, gpu, monkeypatch, tmp_path):
    folder = with_engines(golden_bundle, tmp_path / "built")
    library = OnnxRuntimeDouble(monkeypatch, gpu)
    for module in ("glus_edge.runtime.open_backend", "glus_edge.runtime.tensorrt.engine"):
        monkeypatch.setattr(f"{module}.load_tensorrt", lambda name: tensorrt_double(gpu, name))
    opened = Bundle.open(folder)
    # engines that were compared with nothing are not taken
    assert "compared with nothing" in open_backend(opened, SegmenterOptions()).choice.reason
    monkeypatch.setattr("glus_edge.runtime.tensorrt.store.EngineStore.find", gated(opening.EngineStore.find))
    backend, pixels, choice = open_backend(opened, SegmenterOptions())
    assert (backend.name, choice.reason) == ("tensorrt", "its engines were built for this Test double")
    assert pixels is not None
    assert len(library.sessions) == 3  # of the first time: a product and the pixels


def gated(find):
    def found(*arguments):
        path, record = find(*arguments)
        return path, SimpleNamespace(key=record.key, gate=("compared",), precision=record.precision)

    return found


def test_a_backend_that_is_named_never_becomes_another(bundle, no_gpu, monkeypatch):
    for name in ("onnxruntime-cuda", "tensorrt"):
        with pytest.raises(EngineError):
            open_backend(bundle, SegmenterOptions(name))
    assert open_backend(bundle, SegmenterOptions("onnxruntime")).choice.reason == "asked for"


def test_a_damaged_or_unwritable_cache_costs_a_measurement_and_nothing_else(cache, monkeypatch):
    monkeypatch.setattr(speed, "run_ms", lambda backend: backend)
    contenders = {"onnxruntime": lambda: 2.0, "openvino": lambda: 1.0}
    cache.parent.mkdir(parents=True)
    for damage in (b"{", b"[]", b'{"key": {"milliseconds": {"onnxruntime": "x"}}}', b'{"key": {"milliseconds": {}}}'):
        cache.write_bytes(damage)
        assert cached_speeds("key", contenders) == Speeds({"onnxruntime": 2.0, "openvino": 1.0})
    assert json.loads(cache.read_text()) == {"key": {"milliseconds": {"onnxruntime": 2.0, "openvino": 1.0}}}
    cache.unlink()
    cache.mkdir()
    assert cached_speeds("key", contenders).fastest == "openvino"


def test_the_graph_that_is_measured_really_runs(bundle):
    assert 0 < speed.run_ms(OnnxRuntimeBackend(bundle)) < 60_000


def test_the_command_line_says_what_and_why_and_the_record_holds_it(no_gpu, monkeypatch, tmp_path, capsys):
    openvino_is(monkeypatch, installed=False)
    assert main(["segment", str(golden.FRAMES), "a dog", "--output", str(tmp_path / "out")]) == 0
    reason = "no GPU: CUDA: no device; openvino is not installed"
    assert f"backend: onnxruntime ({reason})\n" in capsys.readouterr().err
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    assert (record["backend"], record["backend_reason"]) == ("onnxruntime", reason)
    with Segmenter.open(options=SegmenterOptions("onnxruntime")) as segmenter:
        assert segmenter.choice.reason == "asked for"
