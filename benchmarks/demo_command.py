"""`glus-edge demo`: segments the shipped clip with the shipped bundle, and says how well and how fast."""

import argparse
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glus_edge.benchmarks.datasets.dataset import Expression, ReferringVideo
from glus_edge.benchmarks.datasets.shipped_clip import ShippedClip
from glus_edge.benchmarks.metrics.j_and_f import boundary_accuracy, region_similarity
from glus_edge.runtime.commands.arguments import (
    add_bundle_argument,
    add_engine_arguments,
    bundle_from_arguments,
    options_from_arguments,
)
from glus_edge.runtime.commands.segment import Request, segment_into
from glus_edge.runtime.loop.result import FrameResult
from glus_edge.runtime.output.output_folder import OVERLAY_FILE, check_output_folder
from glus_edge.runtime.policies.loop_rules import LoopChoice
from glus_edge.runtime.policies.window import WINDOW_POLICIES
from glus_edge.runtime.segmenter import Segmenter

DEFAULT_OUTPUT = Path("glus-edge-demo")


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    add_bundle_argument(parser)
    parser.add_argument(
        "--output",
        type=Path,
        default=DEFAULT_OUTPUT,
        help="a new folder for masks, overlay.mp4 and result.json (default: %(default)s)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier run's results in --output")
    parser.add_argument(
        "--policy", choices=WINDOW_POLICIES, default="exact", help="query window (default: %(default)s)"
    )
    add_engine_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Segments the clip, all its sentences at once, and prints a table."""
    check_output_folder(arguments.output, arguments.overwrite)
    clip = ShippedClip()
    request = Request(tuple(sentence.text for sentence in clip.sentences), LoopChoice(arguments.policy))
    results: list[FrameResult] = []
    ended: list[float] = []

    def seen(result: FrameResult) -> None:
        results.append(result)
        ended.append(time.perf_counter())

    with (
        closing(clip.open()) as video,
        Segmenter.open(bundle_from_arguments(arguments), options_from_arguments(arguments)) as segmenter,
    ):
        started = time.perf_counter()
        segment_into(arguments.output, segmenter, video, request, overwrite=arguments.overwrite, seen=seen)
        height, width = video.size
    for line in table(clip, results):
        print(line)
    speed = len(results) / (ended[-1] - started)
    print(
        f"\n{len(results)} frames of {width} x {height}, {len(clip.sentences)} sentences at once, "
        f"{arguments.policy}: {speed:.1f} FPS from the first question to the last mask"
    )
    print(f"milliseconds a frame: {stage_means(results)}")
    print(f"see {arguments.output / OVERLAY_FILE}")
    return 0


def table(clip: ReferringVideo, results: Sequence[FrameResult]) -> Iterator[str]:
    """J&F, J and F of every sentence, in points: means over all frames."""
    texts = [sentence.text for sentence in clip.sentences]
    width = max(map(len, texts))
    yield f"{'sentence':<{width}}  {'decided by':<10}  {'J&F':>5}  {'J':>5}  {'F':>5}"
    points = 100 * np.mean([_scores(result, clip.truth(result.index)) for result in results], axis=0)
    for sentence, (region, boundary) in zip(clip.sentences, points.tolist(), strict=True):
        yield _row(sentence, width, region, boundary)


def stage_means(results: Sequence[FrameResult]) -> str:
    """Every stage's mean over all frames, the dearest first."""
    stages = {stage for result in results for stage in result.timings}
    means = {stage: sum(result.timings.get(stage, 0.0) for result in results) / len(results) for stage in stages}
    return ", ".join(f"{stage} {mean:.1f}" for stage, mean in sorted(means.items(), key=lambda pair: -pair[1]))


def _scores(result: FrameResult, truth: NDArray[np.bool_]) -> list[tuple[float, float]]:
    return [
        (region_similarity(mask, true), boundary_accuracy(mask, true))
        for mask, true in zip(result.masks, truth, strict=True)
    ]


def _row(sentence: Expression, width: int, region: float, boundary: float) -> str:
    mean = (region + boundary) / 2
    return f"{sentence.text:<{width}}  {sentence.kind:<10}  {mean:5.1f}  {region:5.1f}  {boundary:5.1f}"
