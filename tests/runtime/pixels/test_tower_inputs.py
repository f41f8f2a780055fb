"""Pixels made by the preprocessing graphs are the host's: CLIP's bytes exactly, SAM 2's up to rounding."""

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glus_edge.runtime.bundle.manifest import ImageSettings
from glus_edge.runtime.bundle.signatures import Limits, ModelDimensions
from glus_edge.runtime.device.device import HostDevice
from glus_edge.runtime.pixels.preprocess import clip_pixels, sam_pixels
from glus_edge.runtime.pixels.preprocess_graph import PREPROCESS_GRAPHS, preprocess_graph, preprocess_signatures
from glus_edge.runtime.pixels.resize_weights import bicubic, fixed_point_digits
from glus_edge.runtime.pixels.tower_inputs import HostTowerInputs, clip_weights, sam_matrices
from glus_edge.runtime.video.frame import Frame, FrameSize

MODEL = ModelDimensions(56, 4, 64, 3, 4, 4, 451, 512, 128, 64, 16, 8, 16)
CLIP = ImageSettings(56, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
SAM = ImageSettings(128, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.fixture(scope="module")
def sessions():
    signatures = preprocess_signatures(MODEL, Limits())
    return {
        name: onnxruntime.InferenceSession(preprocess_graph(name, signatures[name]), providers=["CPUExecutionProvider"])
        for name in PREPROCESS_GRAPHS
    }


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def made(session, rgb, weights, image):
    inputs = {"rgb": rgb, "rows": weights.rows, "columns": weights.columns}
    inputs |= {name: np.array(getattr(image, name), np.float32).reshape(3, 1, 1) for name in ("mean", "std")}
    return session.run(None, inputs)[0][0]


@pytest.mark.parametrize("size", [(96, 160), (160, 96), (56, 56), (57, 56), (30, 41), (480, 640), (720, 1280)])
def test_clips_pixels_are_the_hosts_bit_for_bit(sessions, size):
    rgb = picture(*size)
    got = made(sessions["clip_preprocess"], rgb, clip_weights(FrameSize(*size), 56), CLIP)
    assert np.array_equal(got, clip_pixels(rgb, CLIP))


@settings(max_examples=25, deadline=None)
@given(st.integers(20, 260), st.integers(20, 260), st.integers(0, 99))
def test_clips_pixels_are_the_hosts_at_any_size(sessions, height, width, seed):
    rgb = picture(height, width, seed)
    got = made(sessions["clip_preprocess"], rgb, clip_weights(FrameSize(height, width), 56), CLIP)
    assert np.array_equal(got, clip_pixels(rgb, CLIP))


@pytest.mark.parametrize("size", [(96, 160), (160, 96), (128, 128), (128, 300), (480, 640), (31, 500)])
def test_sams_pixels_are_the_hosts_up_to_rounding(sessions, size):
    rgb = picture(*size)
    got = made(sessions["sam_preprocess"], rgb, sam_matrices(FrameSize(*size), 128), SAM)
    assert np.abs(got - sam_pixels(rgb, SAM)).max() < 5e-6


def test_extreme_pictures_do_not_overflow_the_exact_sums(sessions):
    for value in (0, 255):
        rgb = np.full((1080, 1920, 3), value, np.uint8)
        rgb[::2] = 255 - value
        got = made(sessions["clip_preprocess"], rgb, clip_weights(FrameSize(1080, 1920), 56), CLIP)
        assert np.array_equal(got, clip_pixels(rgb, CLIP))


def test_digits_are_pillows_integer_weights():
    weights = bicubic(1000, 56, range(56))
    digits = fixed_point_digits(weights).astype(np.int64)
    whole = digits[0] + (digits[1] << 8) + (digits[2] << 16)
    assert np.abs(digits).max() <= 128
    assert np.abs(whole - weights * 2**22).max() <= 0.5


def test_a_frame_keeps_its_size():
    assert Frame(0, 0.0, picture(4, 6)).size == FrameSize(4, 6)


@pytest.mark.parametrize("asked", [True, False])
def test_a_frame_prepared_in_advance_gives_the_pixels_of_its_turn(asked):
    pixels = HostTowerInputs(HostDevice(), CLIP, SAM)
    frame = Frame(7, 0.5, picture(90, 120))
    prepared = pixels.prepared(frame, asked)
    assert (prepared.index, prepared.time) == (7, 0.5)
    assert prepared.picture is frame.picture
    for make, side in ((pixels.clip, 56), (pixels.sam, 128)):
        direct, ahead = np.zeros((2, 1, 3, side, side), np.float32)
        make(frame, direct)
        make(prepared, ahead)
        assert direct.any()
        assert np.array_equal(direct, ahead)
