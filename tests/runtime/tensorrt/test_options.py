"""How TensorRT is asked for, and what is said where it cannot be had."""

import argparse
from types import SimpleNamespace

import pytest

from glus_edge.runtime import open_backend as opening
from glus_edge.runtime.commands.arguments import add_engine_arguments, options_from_arguments
from glus_edge.runtime.commands.build import limits_from_arguments
from glus_edge.runtime.errors import EngineError, InputError
from glus_edge.runtime.open_backend import SegmenterOptions, open_backend
from glus_edge.runtime.tensorrt.engine import TensorRtOptions
from glus_edge.runtime.tensorrt.library import create, tensorrt_from_module
from tests.runtime.cuda_double import CudaDouble
from tests.runtime.tensorrt_double import Api


@pytest.mark.parametrize(
    ("switches", "wanted"),
    [
        ([], TensorRtOptions()),
        (["--no-cuda-graphs"], TensorRtOptions(cuda_graphs=False)),
        (["--host-pixels", "--cuda", "pycuda"], TensorRtOptions(device_pixels=False, cuda="pycuda")),
    ],
    ids=str,
)
def test_switches_of_the_command_line_reach_the_engines(switches, wanted):
    parser = argparse.ArgumentParser()
    add_engine_arguments(parser)
    options = options_from_arguments(parser.parse_args(["--backend", "tensorrt", *switches]))
    assert (options.backend, options.tensorrt) == ("tensorrt", wanted)


@pytest.mark.parametrize("device_pixels", [True, False])
def test_pixels_are_made_where_they_were_asked_for(monkeypatch, device_pixels):
    opened = []

    class Backend:
        def open_pixels(self):
            return "engines"

    def open_device(_, options):
        opened.append(options)
        return Backend()

    monkeypatch.setattr(opening.TensorRtBackend, "open_device", open_device)
    options = SegmenterOptions("tensorrt-rtx", tensorrt=TensorRtOptions(device_pixels=device_pixels))
    _, pixels, choice = open_backend(None, options)
    assert (choice.backend, choice.reason) == ("tensorrt-rtx", "asked for")
    assert pixels == ("engines" if device_pixels else None)
    assert opened[0].library == "tensorrt-rtx"


def test_a_backend_that_does_not_exist_is_one_line():
    with pytest.raises(EngineError, match=r"backend: got 'cudnn', expected one of auto, onnxruntime, "):
        open_backend(None, SegmenterOptions("cudnn"))


def test_a_tensorrt_without_a_gpu_is_one_line_with_its_reason():
    tensorrt = tensorrt_from_module("tensorrt", Api(CudaDouble(), "10.3.0", None))
    tensorrt.messages.errors.append("of an earlier build")

    def builder(logger):
        logger.log(Api.ILogger.Severity.ERROR, "CUDA initialization failure with error: 35")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    with pytest.raises(EngineError, match=r"tensorrt 10.3.0: cannot compile on this machine: CUDA initialization .*35"):
        create(tensorrt, builder, "compile")


@pytest.mark.parametrize(("name", "value"), [("frame_side", 15), ("sentences", 0)])
def test_limits_no_profile_can_have_are_refused(name, value):
    sizes = dict.fromkeys(("sentences", "context_tokens", "past_tokens", "new_tokens", "frame_side"), 64)
    with pytest.raises(InputError, match=rf"--{name.replace('_', '-')}: got {value}, expected \d+ or more"):
        limits_from_arguments(SimpleNamespace(**sizes | {name: value}))
