"""What the encoders see, and how far eight bits take them."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from glus_edge.benchmarks.instruments.memory_video import MemoryVideo
from glus_edge.calibration.methods.graph_matrices import graph_matrices
from glus_edge.calibration.methods.qdq import EightBits, with_eight_bits
from glus_edge.calibration.statistics.encoder_statistics import encoder_feeds, encoder_ranges
from glus_edge.calibration.videos.calibration_video import CalibrationVideo, open_calibration_videos
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.pixels.preprocess import clip_pixels
from tests.runtime.golden import relative_l2

pytestmark = pytest.mark.torch


@pytest.mark.parametrize(
    ("count", "images", "taken"), [(3, 7, [3, 2, 2]), (3, 2, [1, 1, 0]), (11, 16, [2] * 5 + [1] * 6)]
)
def test_the_encoders_see_frames_of_every_clip(golden_bundle: Path, count: int, images: int, taken: list[int]) -> None:
    rgb = np.arange(count, dtype=np.uint8)[:, None, None, None, None] * np.ones((1, 4, 8, 8, 3), np.uint8)
    videos = [
        CalibrationVideo(str(n), ("a dog",), lambda frames=frames: MemoryVideo("clip", frames), None)
        for n, frames in enumerate(rgb)
    ]
    bundle = Bundle.open(golden_bundle)
    feeds = encoder_feeds(bundle, videos, images)["clip_encoder"]
    own = [clip_pixels(frames[0], bundle.manifest.clip)[None] for frames in rgb]
    assert [sum(np.array_equal(feed["clip_pixels"], each) for feed in feeds) for each in own] == taken


@pytest.mark.parametrize("graph", ["clip_encoder", "image_encoder"])
@pytest.mark.parametrize(("precision", "bound"), [("int8", 0.1), ("fp8", 0.2)])
@pytest.mark.tensorrt_rtx
def test_encoders_in_eight_bits_stay_near_and_compile(
    golden_bundle: Path, videos: Path, tmp_path: Path, graph: str, precision: str, bound: float
) -> None:
    from glus_edge.runtime.tensorrt.library import load_tensorrt
    from glus_edge.runtime.tensorrt.plan import BuildSettings, plan_from_onnx

    source = Bundle.open(golden_bundle)
    model = onnx.load(source.graph_path(graph))
    feeds = encoder_feeds(source, open_calibration_videos(str(videos), 1), 2)[graph]
    ranges = encoder_ranges(model, feeds, (precision,)).ranges
    choices = {each.matrix.name: EightBits(precision, each.reach[precision]) for each in ranges}
    path = tmp_path / f"{graph}.onnx"
    path.write_bytes(with_eight_bits(model, graph_matrices(model), choices).SerializeToString())
    import onnxruntime

    whole, rounded = (
        onnxruntime.InferenceSession(str(each), providers=["CPUExecutionProvider"]).run(None, dict(feeds[0]))
        for each in (source.graph_path(graph), path)
    )
    assert all(1e-4 < relative_l2(got, exact) < bound for got, exact in zip(rounded, whole, strict=True))
    target = BuildSettings(compute_capability="8.9")
    plan = plan_from_onnx(load_tensorrt("tensorrt-rtx"), graph, path, source.signature(graph), target)
    assert plan.size_bytes > 10_000
