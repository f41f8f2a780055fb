"""ONNX Runtime's CUDA provider over test doubles: what is bound, copied, captured and said."""

import numpy as np
import onnxruntime
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from glus_edge.runtime.backends.onnxruntime_cuda import OnnxRuntimeCudaBackend
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.device.cuda_device import CudaDevice
from glus_edge.runtime.errors import EngineError
from tests.runtime import golden
from tests.runtime.cuda_double import CudaDouble
from tests.runtime.onnxruntime_cuda_double import CUDA, OnnxRuntimeDouble, Opened

pytestmark = pytest.mark.torch  # the bundles are exported first


@pytest.mark.parametrize("device_pixels", [True, False])
def test_masks_are_the_golden_ones(golden_bundle, monkeypatch, device_pixels):
    opened = Opened(monkeypatch, golden_bundle, device_pixels=device_pixels)
    results = opened.segmenter.segment(golden.FRAMES, [golden.sentence("exp0")])
    for got, expected in zip(results, golden.expected_masks("exp0"), strict=True):
        assert golden.iou(got.masks[0], expected) >= 0.999


def test_nothing_above_a_megabyte_comes_to_the_host_and_no_engine_tensor_lies_there(golden_bundle, monkeypatch):
    opened = Opened(monkeypatch, golden_bundle)
    side = Bundle.open(golden_bundle).manifest.model.mask_side
    for result in opened.segmenter.segment(golden.FRAMES, ["a thing"]):
        copies = opened.cuda.copies
        # the answer's token, mask logits and three scores; the picture's bytes and the prompt go the other way
        assert copies.to_host == 5
        assert copies.to_host_bytes <= 4 * side**2 + 64 < 1e6
        assert copies.to_device_bytes < 1e6
        assert result.timings
        opened.cuda.copies.clear()
    opened.segmenter.close()


def test_every_graph_runs_on_our_streams_and_the_host_never_waits_for_an_engine(golden_bundle, monkeypatch):
    opened = Opened(monkeypatch, golden_bundle)
    streams = {name: opened.backend.device.stream(name).handle for name in ("main", "image")}
    for graph, session in opened.sessions.items():
        wanted = streams["image" if graph in ("image_encoder", "sam_preprocess") else "main"]
        assert session.stream == wanted
        assert session.provider_options["use_tf32"] == "0"
        assert session.settings["session.use_device_allocator_for_initializers"] == "1"
    assert opened.library.preloads == 1


def test_graphs_of_recurring_shapes_are_captured_once_and_replayed(golden_bundle, monkeypatch):
    opened = Opened(monkeypatch, golden_bundle)
    for _ in opened.segmenter.segment(golden.FRAMES, ["a thing"]):
        pass
    for graph in ("clip_preprocess", "sam_preprocess", "image_encoder", "mask_decoder"):
        session = opened.sessions[graph]
        assert session.captures >= 1
        assert 0 < session.replays <= session.runs - 2 * session.captures
    language = opened.sessions["language_model"]
    assert language.provider_options["enable_cuda_graph"] == "0"
    assert language.captures == 0


def test_without_cuda_graphs_nothing_is_captured(golden_bundle, monkeypatch):
    opened = Opened(monkeypatch, golden_bundle, cuda_graphs=False)
    for _ in opened.segmenter.segment(golden.FRAMES, ["a thing"]):
        pass
    assert {session.provider_options["enable_cuda_graph"] for session in opened.sessions.values()} == {"0"}
    assert sum(session.captures for session in opened.sessions.values()) == 0


def test_tensors_that_have_not_moved_are_not_bound_again(golden_bundle, monkeypatch):
    opened = Opened(monkeypatch, golden_bundle)
    for _ in opened.segmenter.segment(golden.FRAMES, ["a thing"]):
        pass
    encoder = opened.sessions["image_encoder"]
    assert encoder.runs > 1
    assert encoder.bound == len(encoder.get_inputs()) + len(encoder.get_outputs())


@pytest.mark.parametrize("asked", [True, False])
def test_the_packed_integer_kernel_is_a_choice(golden_bundle_int4, monkeypatch, asked):
    opened = Opened(monkeypatch, golden_bundle_int4, fpa_intb_gemm=asked)
    entries = opened.sessions["language_model"].settings
    assert entries.get("ep.cuda.fpa_intb_gemm") == ("1" if asked else None)


def test_the_double_notices_a_missing_wait(golden_bundle, monkeypatch):
    opened = Opened(monkeypatch, golden_bundle)
    monkeypatch.setattr(CudaDevice, "use", lambda *_: None)
    results = opened.segmenter.segment(golden.FRAMES, [golden.sentence("exp0")])
    ious = [
        golden.iou(got.masks[0], expected) for got, expected in zip(results, golden.expected_masks("exp0"), strict=True)
    ]
    assert not np.all(np.array(ious) >= 0.999)


def test_a_product_left_to_the_host_is_refused(golden_bundle, monkeypatch):
    library = OnnxRuntimeDouble(monkeypatch, CudaDouble())
    library.placed_elsewhere = ("Conv",)
    backend = OnnxRuntimeCudaBackend(Bundle.open(golden_bundle), library.cuda)
    with pytest.raises(EngineError, match=r"asked for CUDAExecutionProvider, ONNX Runtime runs Conv on CPUExec"):
        backend.open("image_encoder")


def test_a_provider_that_could_not_be_loaded_is_an_error_and_not_the_cpu(golden_bundle, monkeypatch):
    library = OnnxRuntimeDouble(monkeypatch, CudaDouble())
    monkeypatch.setattr("tests.runtime.onnxruntime_cuda_double.SessionDouble.get_providers", lambda _: ["CPUExec"])
    backend = OnnxRuntimeCudaBackend(Bundle.open(golden_bundle), library.cuda)
    with pytest.raises(EngineError, match=rf"asked for {CUDA}, ONNX Runtime fell back to CPUExec"):
        backend.open("mask_decoder")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            ort_errors.RuntimeException("Failed to allocate memory for requested buffer of size 1073741824"),
            r"out of device memory, 8.6 of 17.2 GB free; end what else uses the GPU",
        ),
        (ort_errors.Fail("CUDNN failure 4\nin file x"), r"ONNX Runtime failed on the GPU: CUDNN failure 4; see"),
    ],
    ids=["memory", "other"],
)
def test_a_failure_on_the_device_is_one_line(golden_bundle, monkeypatch, error, message):
    opened = Opened(monkeypatch, golden_bundle)
    opened.library.error = error
    with pytest.raises(EngineError, match=message) as caught:
        next(iter(opened.segmenter.segment(golden.FRAMES, ["a thing"])))
    assert "\n" not in str(caught.value)


def test_a_weights_file_that_does_not_fit_the_device_says_so(golden_bundle, monkeypatch):
    library = OnnxRuntimeDouble(monkeypatch, CudaDouble())

    def full(*_, **__):
        raise ort_errors.RuntimeException("CUDA failure 2: out of memory")

    monkeypatch.setattr(onnxruntime, "InferenceSession", full)
    with pytest.raises(EngineError, match=r"^language_model: out of device memory, 8.6 of 17.2 GB free"):
        OnnxRuntimeCudaBackend(Bundle.open(golden_bundle), library.cuda).open("language_model")


def test_closing_waits_for_the_work_and_twice_is_once(golden_bundle, monkeypatch):
    opened = Opened(monkeypatch, golden_bundle)
    next(iter(opened.segmenter.segment(golden.FRAMES, ["a thing"])))
    opened.segmenter.close()
    opened.segmenter.close()
    assert not any(stream.queue for stream in opened.cuda.streams.values())
