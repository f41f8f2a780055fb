"""Whole clips through the TensorRT code path, over test doubles of CUDA and TensorRT that compute on the host."""

import gc
import json
import mmap
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from glus_edge.runtime import EngineError, Segmenter
from glus_edge.runtime.bundle.bundle import Bundle, sha256
from glus_edge.runtime.bundle.signatures import Axis, GraphSignature, Limits, TensorSignature
from glus_edge.runtime.device.cuda_device import CudaDevice
from glus_edge.runtime.engine_build.builder import EngineBuild, build_engines
from glus_edge.runtime.tensorrt.engine import RUNTIME_CACHE, TensorRtBackend, TensorRtEngine, TensorRtOptions
from glus_edge.runtime.tensorrt.plan import BuildSettings
from glus_edge.runtime.tensorrt.store import RECORD, EngineKey
from glus_edge.runtime.utils.schema import from_json
from tests.runtime import golden
from tests.runtime.cuda_double import CudaDouble
from tests.runtime.opened_double import Opened, with_engines
from tests.runtime.tensorrt_double import EngineDouble, Runtime, tensorrt_double

pytestmark = pytest.mark.torch  # the bundle is exported first


@pytest.fixture(scope="module")
def built(golden_bundle, tmp_path_factory):
    return with_engines(golden_bundle, tmp_path_factory.mktemp("built") / "fp32")


@pytest.mark.parametrize("run", ["exp0", "exp1"])
@pytest.mark.parametrize("options", [{}, {"cuda_graphs": False}, {"cuda": "without capture"}], ids=str)
def test_a_golden_clip_has_the_references_masks(built, run, options):
    cuda = CudaDouble(graphs="cuda" not in options)
    opened = Opened(built, cuda, cuda_graphs=options.get("cuda_graphs", True))
    masks = opened.masks([golden.sentence(run)])
    for got, wanted in zip(masks, golden.expected_masks(run), strict=True):
        assert golden.iou(got[0], wanted) >= 0.999
    assert bool(cuda.calls("launch")) == (options == {})


def test_plans_are_mapped_and_numpy_is_not_asked_for_their_memory(built, monkeypatch):
    plans = []
    deserialise = Runtime.deserialize_cuda_engine
    monkeypatch.setattr(
        Runtime, "deserialize_cuda_engine", lambda self, plan: plans.append(type(plan)) or deserialise(self, plan)
    )
    Opened(built)
    assert set(plans) == {mmap.mmap}


def test_two_sentences_and_a_key_frame_are_what_onnxruntime_computes(built):
    sentences = ["a thing", golden.sentence("exp1")]
    with Segmenter.open(built) as reference:
        wanted = [result.masks for result in reference.segment(golden.FRAMES, sentences, key_frame=5)]
    for got, expected in zip(Opened(built).masks(sentences, key_frame=5), wanted, strict=True):
        assert golden.iou(got, expected) >= 0.999


@pytest.mark.parametrize("policy", ["window", "rolling"])
def test_every_policy_runs_and_is_what_onnxruntime_computes(built, policy):
    with Segmenter.open(built) as reference:
        wanted = [result.masks for result in reference.segment(golden.FRAMES, ["a thing"], policy=policy)]
    for got, expected in zip(Opened(built).masks(["a thing"], policy=policy), wanted, strict=True):
        assert golden.iou(got, expected) >= 0.999


def test_rows_too_narrow_for_tensorrts_alignment_are_spaced_out(golden_bundle_fp16, tmp_path):
    # one cached row of the golden model is 4 heads x 16 channels x 2 bytes: half of what TensorRT's addresses need
    folder = with_engines(golden_bundle_fp16, tmp_path / "fp16")
    with Segmenter.open(folder) as reference:
        wanted = [result.masks for result in reference.segment(golden.FRAMES, ["a thing"])]
    for got, expected in zip(Opened(folder).masks(["a thing"]), wanted, strict=True):
        assert golden.iou(got, expected) >= 0.995  # pixels differ by 5e-6, which float16 rounds up or down


def test_nothing_is_copied_between_engines_but_image_tokens_and_the_answer(built):
    model = Bundle.open(built).manifest.model
    image_bytes, embedding_bytes = model.image_tokens * model.language_width * 4, model.segment_width * 4
    cached_row_bytes = 2 * model.language_layers * model.key_value_heads * model.head_width * 4
    steady = list(recorded(Opened(built), ["a thing"]))[6:]
    for _, copies in steady:
        # exact policy: the window's four question images, the new rows of keys and values into the past, and the answer,
        # which later frames may use again. Memory slots, features and masks are written where the next engine reads them.
        assert copies["on_device"] == 6
        rows, row_bytes = divmod(copies["on_device_bytes"] - 4 * image_bytes - embedding_bytes, cached_row_bytes)
        assert rows > 4 * model.image_tokens, "four turns, each an image and its text"
        assert row_bytes == 0
        # next_token, and the mask logits with their three scores
        assert copies["to_host"] == 5


def recorded(opened, sentences):
    for log, copies in opened.frames(sentences):
        yield list(log), dict(vars(copies))


def test_the_image_encoder_is_started_before_the_language_model_and_waited_for_after_it(built):
    opened = Opened(built)
    main, image = opened.backend.device.stream("main").handle, opened.backend.device.stream("image").handle
    for log, _ in list(recorded(opened, ["a thing"]))[2:]:
        started = next(i for i, (call, stream) in enumerate(log) if call in ("execute", "launch") and stream == image)
        answered = next(i for i, (call, _) in enumerate(log) if call == "to_host")
        waits = [i for i, (call, stream) in enumerate(log) if call == "wait" and stream == main]
        assert started < answered < min(waits)


def test_the_double_notices_a_missing_wait(built, monkeypatch):
    monkeypatch.setattr(CudaDevice, "use", lambda *_: None)
    wanted = golden.expected_masks("exp0")
    masks = Opened(built).masks([golden.sentence("exp0")])
    assert not all(golden.iou(got[0], expected) >= 0.999 for got, expected in zip(masks, wanted, strict=True))


def test_recurring_shapes_are_captured_once_and_replayed(built):
    opened = Opened(built)
    logs = [log for log, _ in recorded(opened, ["a thing"])]
    replays = [sum(call == "launch" for call, _ in log) for log in logs]
    assert min(replays[6:]) >= 5  # both preprocessings and encoders, the mask decoder
    captures = sum(call == "begin_capture" for log in logs for call, _ in log)
    assert captures < sum(replays)
    # a second run at other shapes drops what was captured; the double refuses to capture what was not run once
    opened.masks(["a thing", "another"])


def test_the_language_model_is_a_graph_replayed_at_every_step_from_the_third(built):
    opened = Opened(built)
    language = [context for context in opened.tensorrt.api.contexts if ".language_model." in context.engine.path]
    assert len(language) == 3
    calls = [0]
    for log, copies in opened.frames(["a thing"], policy="window"):
        calls.append(sum(context.calls for context in language))
        step = len(calls) - 1
        # a step that is not replayed: 5 shapes, 8 addresses, the scratch memory, the run, and a capture of it
        assert calls[-1] - calls[-2] <= (20 if step > 1 else 40), "the first reads the shared prefix too"
        runs = sum(context.runs for context in language)
        assert runs <= 2, "once for the shared prefix, once for the first step; all others are captured or replayed"
        if step > 2:
            assert calls[-1] == calls[-2]
            assert sum(call == "launch" for call, _ in log) >= 5, "both towers and their pixels, and this"
            frame = (
                golden.META["frame_height"] * golden.META["frame_width"] * 3
            )  # two may come at once: they are read ahead
            width = Bundle.open(built).manifest.model.language_width
            assert copies.to_device_bytes % frame <= 64 * width * 4, "text rows and positions; no mask, no cache"
    assert not opened.segmenter._engines.language_model.graphs.failure


def test_memory_goes_back_when_a_run_ends(built):
    opened = Opened(built)
    before = len(opened.cuda.memory)
    opened.masks(["a thing"])
    gc.collect()
    sinks = 2  # outputs no one asks for have a place of their own: all_mask_logits, all_predicted_iou
    context = 2  # segment_embedding and next_token while the prefix is read
    pixels = 2 * 5  # of both towers, kept for the next video: frame, weights of rows and columns, mean, std
    assert len(opened.cuda.memory) == before + sinks + context + pixels
    opened.segmenter.close()
    gc.collect()
    assert not opened.cuda.memory
    assert not opened.cuda.graphs


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(sentences=1), r"got 2 sentences, expected 1 to 1, what the engine was built for"),
        (Limits(new_tokens=100), r"got \d+ new_tokens, expected 1 to 100, what the engine was built for"),
    ],
    ids=str,
)
def test_more_than_the_engines_were_built_for_is_one_line(golden_bundle, tmp_path, limits, said):
    with pytest.raises(EngineError, match=said):
        Opened(with_engines(golden_bundle, tmp_path / "small", limits)).masks(["a thing", "another"])


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        (
            "gpu",
            "Orin (compute capability 8.7)",
            "got an engine for GPU Orin (compute capability 8.7), expected Test double",
        ),
        ("library_version", "10.3.0", "got an engine for tensorrt version 10.3.0, expected 0.0.double"),
        ("library", "tensorrt-rtx", "got an engine for TensorRT library tensorrt-rtx, expected tensorrt"),
        ("onnx_sha256", "0" * 64, "got an engine for ONNX graph 0000000000000000, expected "),
    ],
)
def test_an_engine_for_something_else_is_one_clear_line(built, tmp_path, field, value, said):
    folder = tmp_path / "bundle"
    shutil.copytree(built, folder)
    for path in folder.glob("engines/*/engine.json"):
        record = json.loads(path.read_text())
        record["key"][field] = value
        path.write_text(json.dumps(record))
        path.parent.rename(path.parents[1] / from_json(EngineKey, record["key"]).fingerprint)
    with pytest.raises(EngineError) as caught:
        Opened(folder)
    assert said in str(caught.value)
    assert "glus-edge build" in str(caught.value)


def test_a_plan_that_does_not_load_is_one_line_with_tensorrts_reason(built, tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(built, folder)
    for path in folder.glob("engines/*/*.engine"):
        path.write_bytes(b"x" * path.stat().st_size)
        record = json.loads((path.parent / RECORD).read_text())
        (path.parent / RECORD).write_text(json.dumps(record | {"sha256": sha256(path)}))
    with pytest.raises(
        EngineError, match=r"cannot load the engine: the plan's magic tag does not match; build it again"
    ):
        Opened(folder)


def test_a_bundle_without_engines_says_how_to_build_them(golden_bundle):
    with pytest.raises(EngineError, match=r"got no engine in .*engines, expected one for Test double.*glus-edge build"):
        Opened(golden_bundle)


def test_an_engine_compared_with_nothing_is_not_used(built):
    with pytest.raises(EngineError, match=r"built with --no-gate and compared with nothing.*run `glus-edge build"):
        Opened(built, unchecked=False)


def test_a_misaligned_address_is_refused_before_tensorrt_sees_it(built):
    bundle, cuda = Bundle.open(built), CudaDouble()
    device = CudaDevice(cuda)
    signature = bundle.signature("memory_encoder")
    plan = next(path for path in built.glob("engines/*/memory_encoder.engine")).read_bytes()
    engine = TensorRtEngine(tensorrt_double(cuda), "memory_encoder", signature, plan, device)
    model = bundle.manifest.model
    features = device.empty((2, model.segment_width, model.grid, model.grid), "float32")[:1]
    logits = device.empty((1, 1, model.mask_side, model.mask_side), "float32")
    slot = (1, model.memory_width, model.grid, model.grid)
    block = device.empty((int(np.prod(slot)) + 1,), "float32")
    with pytest.raises(EngineError, match=r"memory_encoder.memory_slot: got address .* expected a multiple of 256"):
        engine.run({"conditioned_features": features, "mask_logits": logits}, {"memory_slot": block[1:].reshape(slot)})


def test_an_engine_whose_tensors_are_not_the_signatures_is_refused(built):
    cuda = CudaDouble()
    plan = next(path for path in built.glob("engines/*/memory_encoder.engine")).read_bytes()
    wrong = GraphSignature(
        (TensorSignature("pixels", "float32", ("n", 3)),),
        (TensorSignature("y", "float32", ("n",)),),
        {"n": Axis(1, 1, 1)},
    )
    with pytest.raises(EngineError, match=r"input pixels: got None, expected float32"):
        TensorRtEngine(tensorrt_double(cuda), "memory_encoder", wrong, plan, CudaDevice(cuda))


def test_a_tensor_of_a_type_numpy_lacks_is_refused_in_one_line(built, monkeypatch):
    cuda = CudaDouble()
    plan = next(path for path in built.glob("engines/*/memory_encoder.engine")).read_bytes()
    monkeypatch.setattr(EngineDouble, "get_tensor_dtype", lambda self, name: "DataType.BF16")
    signature = Bundle.open(built).signature("memory_encoder")
    with pytest.raises(
        EngineError, match=r"got \('input', 'DataType.BF16'\), expected float32; build the engine again"
    ):
        TensorRtEngine(tensorrt_double(cuda), "memory_encoder", signature, plan, CudaDevice(cuda))


def test_engines_of_a_stream_share_their_scratch_memory(built):
    opened = Opened(built)
    opened.masks(["a thing"])
    contexts = opened.tensorrt.api.contexts
    image = [
        c for c in contexts if Path(c.engine.path).name in ("image_encoder.onnx", f".sam_preprocess.{os.getpid()}.onnx")
    ]
    main = [context for context in contexts if context not in image]
    assert len(image) == 2
    assert len(main) == 8  # three of them the language model's, one for each size of new rows
    for group in (image, main):
        assert len({context.scratch[0] for context in group if context.runs}) == 1
    assert image[0].scratch[0] != main[0].scratch[0]


def test_an_engine_whose_scratch_memory_moved_is_captured_anew(built):
    opened = Opened(built)
    wanted = opened.masks(["a thing"])
    device = opened.backend.device
    before = {context.scratch[0] for context in opened.tensorrt.api.contexts if context.runs}
    larger = [device.scratch(device.stream(stream)).reserve(1 << 20) for stream in ("main", "image")]
    assert all(np.array_equal(a, b) for a, b in zip(opened.masks(["a thing"]), wanted, strict=True))
    after = {context.scratch[0] for context in opened.tensorrt.api.contexts if context.runs}
    assert after == {block.address for block in larger}
    assert before.isdisjoint(after)


def with_rtx_engines(built, folder):
    shutil.copytree(built, folder, ignore=shutil.ignore_patterns("engines"))
    cuda = CudaDouble()
    build = EngineBuild(Bundle.open(folder), tensorrt_double(cuda, "tensorrt-rtx"), Limits(), BuildSettings())
    list(build_engines(build, cuda))
    return folder


def compiled_at_start(folder):
    """Engines that had to compile kernels when they first ran."""
    cuda = CudaDouble()
    tensorrt = tensorrt_double(cuda, "tensorrt-rtx")
    bundle = Bundle.open(folder)
    backend = TensorRtBackend(bundle, tensorrt, cuda, TensorRtOptions("tensorrt-rtx", unchecked=True))
    with Segmenter(bundle, backend, backend.open_pixels()) as segmenter:
        list(segmenter.segment(golden.FRAMES, ["a thing"]))
        assert cuda.calls("launch")
        return sum(context.compiled for context in tensorrt.api.contexts)


def test_tensorrt_for_rtx_compiles_kernels_once_and_replays(built, tmp_path):
    folder = with_rtx_engines(built, tmp_path / "rtx")
    assert compiled_at_start(folder) == 8
    assert compiled_at_start(folder) == 0
    for cache in folder.glob(f"engines/*/{RUNTIME_CACHE}"):
        cache.write_bytes(b"kernels of another GPU")
    assert compiled_at_start(folder) == 8
    assert compiled_at_start(folder) == 0
