import hashlib
import json
import tracemalloc
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from glus_edge.runtime.bundle.manifest import ImageSettings
from glus_edge.runtime.pixels.preprocess import clip_pixels, masks_from_logits, sam_pixels
from glus_edge.runtime.pixels.tower_inputs import clip_weights
from glus_edge.runtime.video.frame import FrameSize

GOLDEN = Path(__file__).parents[2] / "data" / "golden_A"
SAM_MEAN, SAM_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def meta() -> dict[str, Any]:
    return dict(json.loads((GOLDEN / "meta.json").read_text()))


@pytest.fixture(scope="module")
def frames() -> list[NDArray[np.uint8]]:
    paths = sorted((GOLDEN / "frames").glob("*.png"))
    return [np.ascontiguousarray(cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1], np.uint8) for path in paths]


def golden_arrays(prefix: str) -> dict[str, NDArray[Any]]:
    """The float arrays of expected.safetensors whose name starts so; read by hand, safetensors is not a dependency."""
    raw = (GOLDEN / "expected.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    dtypes = {"F32": np.float32, "F64": np.float64}
    return {
        name: np.frombuffer(raw[8 + length :][slice(*entry["data_offsets"])], dtypes[entry["dtype"]]).reshape(
            entry["shape"]
        )
        for name, entry in header.items()
        if name.startswith(prefix)
    }


def reference_axis(values: NDArray[np.float64], size: int, antialias: bool) -> NDArray[np.float64]:
    """Bilinear resize of the first axis, one output at a time, from the filter's definition."""
    count = len(values)
    scale = count / size
    reach = max(scale, 1.0) if antialias else 1.0
    rows = []
    for target in range(size):
        centre = (target + 0.5) * scale - 0.5
        if not antialias:
            centre = min(max(centre, 0.0), count - 1.0)
        weights = np.maximum(0.0, 1 - np.abs(np.arange(count) - centre) / reach)
        rows.append(np.tensordot(weights / weights.sum(), values, 1))
    return np.stack(rows)


def reference_resize(
    plane: NDArray[np.float64], height: int, width: int, antialias: bool = True
) -> NDArray[np.float64]:
    return reference_axis(reference_axis(plane, height, antialias).T, width, antialias).T


def test_clip_pixels_are_bit_identical_to_the_reference(meta: dict[str, Any], frames: list[NDArray[np.uint8]]) -> None:
    config = json.loads((GOLDEN / "clip" / "preprocessor_config.json").read_text())
    clip = ImageSettings(config["size"]["shortest_edge"], tuple(config["image_mean"]), tuple(config["image_std"]))
    digests = [hashlib.sha256(clip_pixels(frame, clip).tobytes()).hexdigest() for frame in frames]
    assert digests == meta["clip_sha256"]


def test_sam_pixels_match_the_reference(meta: dict[str, Any], frames: list[NDArray[np.uint8]]) -> None:
    expected = golden_arrays("frame/sam_")
    sam = ImageSettings(meta["sam_image_size"], SAM_MEAN, SAM_STD)
    for index, frame in enumerate(frames):
        pixels = sam_pixels(frame, sam)
        assert pixels.shape == (3, sam.size, sam.size)
        assert pixels.dtype == np.float32
        np.testing.assert_allclose(pixels.ravel()[:64], expected["frame/sam_first64"][index], rtol=0, atol=2e-6)
        wide = pixels.astype(np.float64)
        assert wide.sum() == pytest.approx(expected["frame/sam_sum"][index], abs=2e-2)
        assert np.abs(wide).sum() == pytest.approx(expected["frame/sam_abssum"][index], abs=2e-2)


@settings(deadline=None, max_examples=40)
@given(height=st.integers(1, 90), width=st.integers(1, 90), size=st.integers(1, 64), seed=st.integers(0, 2**32 - 1))
def test_sam_pixels_equal_the_filter_written_out(height: int, width: int, size: int, seed: int) -> None:
    rgb = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    pixels = sam_pixels(rgb, ImageSettings(size, SAM_MEAN, SAM_STD))
    for channel in range(3):
        wanted = reference_resize(rgb[..., channel] / 255, size, size)
        wanted = (wanted - SAM_MEAN[channel]) / SAM_STD[channel]
        np.testing.assert_allclose(pixels[channel], wanted, rtol=0, atol=1e-5)


@settings(deadline=None, max_examples=40)
@given(height=st.integers(1, 200), width=st.integers(1, 200), size=st.integers(1, 64))
def test_clip_pixels_are_the_centre_square_of_any_frame(height: int, width: int, size: int) -> None:
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[..., 0], rgb[..., 1], rgb[..., 2] = 10, 100, 250
    pixels = clip_pixels(rgb, ImageSettings(size, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)))
    assert pixels.shape == (3, size, size)
    for channel, value in enumerate((10, 100, 250)):
        np.testing.assert_allclose(pixels[channel], (value / 255 - 0.5) / 0.25, atol=1e-6)


def pillows_centre_square(rgb: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The whole picture resized, across and then down, and the centre cut out."""
    height, width = rgb.shape[:2]
    shape = (size, int(size * height / width)) if width <= height else (int(size * width / height), size)
    across = Image.fromarray(rgb).resize((shape[0], height), Image.Resampling.BICUBIC)
    resized = np.asarray(across.resize(shape, Image.Resampling.BICUBIC))
    top, left = (resized.shape[0] - size) // 2, (resized.shape[1] - size) // 2
    return resized[top : top + size, left : left + size]


@settings(deadline=None, max_examples=150)
@given(
    shorter=st.integers(1, 90),
    ratio=st.floats(1, 60),
    upright=st.booleans(),
    size=st.integers(1, 64),
    seed=st.integers(0, 2**32 - 1),
)
def test_clip_pixels_are_cropped_from_pillows_resize_bit_for_bit(
    shorter: int, ratio: float, upright: bool, size: int, seed: int
) -> None:
    shape = (int(shorter * ratio), shorter) if upright else (shorter, int(shorter * ratio))
    rng = np.random.default_rng(seed)
    # Half of them black and white: the filter overshoots there.
    rgb = rng.integers(0, 256, (*shape, 3), np.uint8) if seed % 2 else 255 * rng.integers(0, 2, (*shape, 3), np.uint8)
    pixels = clip_pixels(rgb, ImageSettings(size, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))
    assert np.array_equal(np.rint(pixels * 255).astype(np.uint8).transpose(1, 2, 0), pillows_centre_square(rgb, size))


def test_a_strip_is_not_enlarged_before_it_is_cropped() -> None:
    strip = np.random.default_rng(0).integers(0, 256, (1, 60_000, 3), np.uint8)
    clip = ImageSettings(224, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    tracemalloc.start()
    try:
        lying = clip_pixels(strip, clip)
        weights = clip_weights(FrameSize(16, 1920), 224)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 500e6  # numpy's; the whole strip is 13.4 million columns of 224 pixels
    assert np.array_equal(lying, clip_pixels(strip.transpose(1, 0, 2), clip).transpose(0, 2, 1))
    assert weights.columns.shape == (3, 1, 1920, 224)


@settings(deadline=None, max_examples=40)
@given(
    source=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    target=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    sentences=st.integers(0, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_masks_are_the_sign_of_the_resized_logits(
    source: tuple[int, int], target: tuple[int, int], sentences: int, seed: int
) -> None:
    logits = np.random.default_rng(seed).normal(0, 10, (sentences, 1, *source)).astype(np.float32)
    masks = masks_from_logits(logits, *target)
    assert masks.shape == (sentences, *target)
    assert masks.dtype == np.bool_
    for mask, plane in zip(masks, logits[:, 0], strict=True):
        wanted = reference_resize(plane.astype(np.float64), *target, antialias=False)
        certain = np.abs(wanted) > 1e-3  # closer to 0 the sign is a matter of rounding
        np.testing.assert_array_equal(mask[certain], wanted[certain] > 0)


@pytest.mark.torch
@pytest.mark.parametrize(("height", "width"), [(720, 1280), (1080, 1920), (96, 160), (333, 517), (64, 40)])
def test_masks_agree_with_torch_on_all_but_a_few_pixels_in_a_million(height: int, width: int) -> None:
    import torch

    rng = np.random.default_rng(height)
    coarse = rng.normal(0, 10, (2, 1, 16, 16)).astype(np.float32)
    logits = np.stack([cv2.resize(plane[0], (128, 128), interpolation=cv2.INTER_CUBIC)[None] for plane in coarse])
    resized = torch.nn.functional.interpolate(torch.from_numpy(logits), (height, width), mode="bilinear")
    flipped = masks_from_logits(logits, height, width) != (resized[:, 0] > 0).numpy()
    assert flipped.sum() <= max(1, 5e-6 * flipped.size)
