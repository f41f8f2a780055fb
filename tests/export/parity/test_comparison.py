import numpy as np
import onnx
import pytest

from glus_edge.export.parity.comparison import TOLERANCES, ParityCase, measure_parity, parity_entry
from glus_edge.export.parity.sample_frames import sample_frames
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.signatures import GRAPHS
from glus_edge.runtime.errors import ParityError

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("fixture", ["golden_bundle", "golden_bundle_fp16", "golden_bundle_int4"])
def test_every_output_of_every_graph_is_recorded_and_within_its_tolerance(request, fixture):
    bundle = Bundle.open(request.getfixturevalue(fixture))
    for name in GRAPHS:
        entry = bundle.manifest.graphs[name]
        outputs = [tensor.name for tensor in bundle.signature(name).outputs if not tensor.name.startswith("new_")]
        assert [parity.output for parity in entry.parity] == outputs
        for parity in entry.parity:
            assert parity.relative_l2 <= parity.tolerance
            if parity.output not in ("selected_mask", "next_token"):
                assert parity.tolerance == TOLERANCES[entry.compute]


def test_half_precision_is_really_half_precision(golden_bundle, golden_bundle_fp16):
    whole, half = (Bundle.open(path).manifest.graphs for path in (golden_bundle, golden_bundle_fp16))
    for name in GRAPHS:
        assert max(p.relative_l2 for p in whole[name].parity) < 1e-5
        assert max(p.relative_l2 for p in half[name].parity) > 1e-4


def test_what_quantisation_costs_is_recorded_apart(golden_bundle, golden_bundle_int4):
    assert "segment_embedding" in Bundle.open(golden_bundle_int4).manifest.provenance["language_weights_loss"]
    assert "language_weights_loss" not in Bundle.open(golden_bundle).manifest.provenance


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("compute", ["float32", "float16"])
@pytest.mark.parametrize("which", ["got", "expected"])
def test_nothing_that_is_not_finite_passes(value, compute, which):
    arrays = {"got": np.ones(1000, np.float32), "expected": np.ones(1000, np.float32)}
    arrays[which][7] = value
    with pytest.raises(ParityError, match="clip_encoder: output image_tokens"), np.errstate(invalid="ignore"):
        parity_entry("clip_encoder", "image_tokens", arrays["got"], arrays["expected"], compute)


@pytest.mark.parametrize(("compute", "passes", "misses"), [("float32", 5e-5, 2e-4), ("float16", 1e-2, 3e-2)])
def test_the_tolerance_decides(compute, passes, misses):
    expected = np.ones(100, np.float32)
    entry = parity_entry("g", "o", expected * np.float32(1 + passes), expected, compute)
    assert entry.relative_l2 == pytest.approx(passes, rel=1e-2)
    with pytest.raises(ParityError, match="g: output o: got a relative L2 distance"):
        parity_entry("g", "o", expected * np.float32(1 + misses), expected, compute)


@pytest.mark.parametrize("other", [1e-6, -1e-6, np.nan, np.inf, -np.inf])
def test_zeros_are_equal_to_zeros_and_to_nothing_else(other):
    zeros = np.zeros(4, np.float32)
    assert parity_entry("g", "o", zeros, zeros, "float32").relative_l2 == 0
    with pytest.raises(ParityError):
        parity_entry("g", "o", np.array([0, 0, other, 0], np.float32), zeros, "float32")


def test_a_chosen_number_that_differs_is_a_miss_in_float32_and_reported_in_float16():
    got, expected = np.array([0, 1, 2, 3]), np.array([0, 1, 2, 2])
    with pytest.raises(ParityError):
        parity_entry("g", "selected_mask", got, expected, "float32")
    assert parity_entry("g", "selected_mask", got, expected, "float16").relative_l2 == 0.25


def test_a_changed_weight_is_a_miss(golden_bundle, tmp_path):
    bundle = Bundle.open(golden_bundle)
    signature = bundle.signature("memory_encoder")
    random = np.random.default_rng(0)
    inputs = {
        tensor.name: random.standard_normal([1 if isinstance(size, str) else size for size in tensor.shape]).astype(
            np.float32
        )
        for tensor in signature.inputs
    }
    path = bundle.graph_path("memory_encoder")
    expected = {"memory_slot": onnx_run(path, inputs)}
    case = ParityCase(inputs, expected)
    (entry,) = measure_parity("memory_encoder", path, signature, "float32", [case])
    assert entry.relative_l2 < 1e-6
    model = onnx.load(path)
    weight = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 4)
    values = onnx.numpy_helper.to_array(weight).copy()
    values[0] += 0.05
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(model, tmp_path / "changed.onnx")
    with pytest.raises(ParityError, match="memory_encoder: output memory_slot"):
        measure_parity("memory_encoder", tmp_path / "changed.onnx", signature, "float32", [case])


def onnx_run(path, inputs):
    return onnx.reference.ReferenceEvaluator(onnx.load(path)).run(None, inputs)[0]


def test_sample_frames_look_like_a_video():
    first, second = sample_frames(2)
    assert first.rgb.shape == (480, 854, 3)
    assert first.rgb.dtype == np.uint8
    assert 30 < first.rgb.std() < 80
    changed = (first.rgb != second.rgb).any(-1).mean()
    assert 0.01 < changed < 0.3
    assert np.array_equal(first.rgb, sample_frames(2)[0].rgb)
    # Neighbouring pixels of natural images are nearly equal.
    grey = first.rgb.mean(-1)
    assert np.corrcoef(grey[:, 1:].ravel(), grey[:, :-1].ravel())[0, 1] > 0.9
