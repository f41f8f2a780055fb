"""OpenVINO's engine over a double of its Python interface, which computes with ONNX Runtime."""

import sys
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from glus_edge.runtime import EngineError, Segmenter, SegmenterOptions
from glus_edge.runtime.backends.openvino_engine import GRAPHS, OpenVinoOptions
from tests.runtime import golden


class Tensor:
    def __init__(self, array, shared_memory):
        assert shared_memory
        assert array.flags.c_contiguous
        self.array = array


class Request:
    """As the real one, an output that was bound is written at every inference, into memory of the right shape only."""

    def __init__(self, path):
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.tensors = {}

    def set_tensor(self, name, tensor):
        self.tensors[name] = tensor.array

    def infer(self):
        inputs = {tensor.name: self.tensors[tensor.name] for tensor in self.session.get_inputs()}
        wanted = [tensor.name for tensor in self.session.get_outputs() if tensor.name in self.tensors]
        for name, values in zip(wanted, self.session.run(wanted, inputs), strict=True):
            if values.shape != self.tensors[name].shape:
                raise RuntimeError(f"Exception from src/tensor.cpp:1:\n{name} has another shape\n")
            np.copyto(self.tensors[name], values)


class Core:
    capabilities = ("BF16", "FP32")
    compiled: list

    def get_property(self, device, name):
        assert (device, name) == ("CPU", "OPTIMIZATION_CAPABILITIES")
        return list(self.capabilities)

    def read_model(self, path):
        return path

    def compile_model(self, path, device, settings):
        assert device == "CPU"
        self.compiled.append((path, settings))
        return SimpleNamespace(create_infer_request=lambda: Request(path))


@pytest.fixture
def openvino(monkeypatch):
    core = type("Core", (Core,), {"compiled": []})
    double = SimpleNamespace(Core=core, Tensor=Tensor, __version__="2026.0")
    monkeypatch.setitem(sys.modules, "openvino", double)
    return double


def options(precision="bf16"):
    return SegmenterOptions("openvino", openvino=OpenVinoOptions(precision, threads=1))


@pytest.mark.torch
@pytest.mark.parametrize("policy", ["exact", "window", "rolling"])
def test_masks_are_those_of_onnx_runtime(golden_bundle, openvino, policy):
    sentences = ["a thing", "another thing that is longer"]
    with Segmenter.open(golden_bundle, SegmenterOptions(backend="onnxruntime")) as segmenter:
        wanted = [result.masks for result in segmenter.segment(golden.FRAMES, sentences, policy=policy)]
    with Segmenter.open(golden_bundle, options()) as segmenter:
        assert segmenter.backend.name == "openvino"
        for place, result in enumerate(segmenter.segment(golden.FRAMES, sentences, policy=policy)):
            assert golden.iou(result.masks, wanted[place]) >= 0.999


@pytest.mark.torch
@pytest.mark.parametrize(("precision", "hint"), [("bf16", "bf16"), ("fp32", "f32")])
def test_the_large_graphs_are_compiled_in_the_precision_asked_for(golden_bundle, openvino, precision, hint):
    Segmenter.open(golden_bundle, options(precision)).close()
    assert len(openvino.Core.compiled) == len(GRAPHS)
    assert all(settings["INFERENCE_PRECISION_HINT"] == hint for _, settings in openvino.Core.compiled)
    assert all(settings["INFERENCE_NUM_THREADS"] == 1 for _, settings in openvino.Core.compiled)


@pytest.mark.torch
def test_a_processor_without_bfloat16_is_said_and_float32_offered(golden_bundle, openvino, monkeypatch):
    monkeypatch.setattr(openvino.Core, "capabilities", ("FP32",))
    with pytest.raises(EngineError, match="multiplies no bfloat16; use --openvino-precision fp32"):
        Segmenter.open(golden_bundle, options())
    Segmenter.open(golden_bundle, options("fp32")).close()
    with pytest.raises(EngineError, match="OpenVINO precision: got 'int4', expected one of bf16, fp32"):
        Segmenter.open(golden_bundle, options("int4"))


@pytest.mark.torch
def test_what_openvino_refuses_is_one_line_with_its_last_word(golden_bundle, openvino, monkeypatch):
    def fail(*_):
        raise RuntimeError("Exception from src/core.cpp:1:\nCheck failed\nno memory left\n")

    with Segmenter.open(golden_bundle, options()) as segmenter:
        monkeypatch.setattr(Request, "infer", fail)
        with pytest.raises(
            EngineError, match="clip_encoder: OpenVINO failed: no memory left; use --backend onnxruntime"
        ):
            next(iter(segmenter.segment(golden.FRAMES, ["a thing"])))

    monkeypatch.setattr(Core, "compile_model", fail)
    with pytest.raises(EngineError, match=r"clip_encoder.onnx: OpenVINO 2026.0 cannot compile it: no memory left"):
        Segmenter.open(golden_bundle, options())


@pytest.mark.torch
def test_where_it_is_not_installed_that_is_said(golden_bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(EngineError, match=r"openvino: cannot be imported \(.*\); pip install openvino"):
        Segmenter.open(golden_bundle, options())
