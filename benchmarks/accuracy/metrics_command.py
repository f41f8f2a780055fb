"""`glus-edge bench metrics`: how fast J and F are, beside a plain loop, and whether the values are the same."""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from glus_edge.benchmarks.datasets.png_masks import read_mask
from glus_edge.benchmarks.datasets.shipped_clip import ShippedClip
from glus_edge.benchmarks.instruments.environment import environment
from glus_edge.benchmarks.instruments.record import RecordFile, add_record_arguments
from glus_edge.benchmarks.metrics.j_and_f import boundary_accuracy, region_similarity
from glus_edge.benchmarks.metrics.plain_loop import plain_j_and_f
from glus_edge.runtime.errors import InputError
from glus_edge.runtime.video.frame_folder import FrameFolder

_SIZE = (480, 854)  # of the frames, as DAVIS has them
_SHIFT = (3, 4)  # pixels by which the made-up predictions are off

Pair = tuple[NDArray[np.bool_], NDArray[np.bool_]]


@dataclass(frozen=True)
class MetricsRow:
    """What was measured."""

    frames: int
    plain_ms: float  # processor time a frame: the plain loop, the least of all rounds
    ours_ms: float
    ratio: float
    region: float  # J and F over frames, in points
    boundary: float
    differing: int  # frames on which a value is not the same, bit for bit


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument(
        "--truth", type=Path, metavar="DIR", help="PNG masks (default: the shipped clip's, enlarged to 480 x 854)"
    )
    parser.add_argument("--masks", type=Path, metavar="DIR", help="PNG predictions (default: the truth, shifted)")
    parser.add_argument("--frames", type=int, default=20, metavar="N", help="at most (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=3, metavar="N", help="the least time counts (default: %(default)s)"
    )
    add_record_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measures, prints a line and writes the record."""
    if arguments.frames < 1 or arguments.rounds < 1:
        raise InputError("--frames and --rounds: expected numbers from 1")
    if (arguments.truth is None) != (arguments.masks is None):
        raise InputError("--truth and --masks: got one of them, expected both or none")
    record = RecordFile("metrics", arguments)
    pairs = _made_up() if arguments.truth is None else _read(arguments.truth, arguments.masks)
    row = compare(pairs[: arguments.frames], arguments.rounds)
    print(f"J {row.region:.4f}, F {row.boundary:.4f}")
    print(
        f"{row.frames} frames: plain loop {row.plain_ms:.1f} ms a frame, here {row.ours_ms:.2f} ms, "
        f"{row.ratio:.0f} times as fast; {row.differing} frames with another value"
    )
    record.write(environment(1), {"frames": arguments.frames, "rounds": arguments.rounds}, [row])
    return 0


def compare(pairs: Sequence[Pair], rounds: int) -> MetricsRow:
    """Both on the same masks, in turns."""

    def ours(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> tuple[float, float]:
        return region_similarity(mask, truth), boundary_accuracy(mask, truth)

    times: dict[str, float] = {}
    values: dict[str, list[tuple[float, float]]] = {}
    contenders: dict[str, Callable[..., tuple[float, float]]] = {"plain": plain_j_and_f, "ours": ours}
    for _ in range(rounds):
        for name, score in contenders.items():
            start = time.process_time()
            values[name] = [score(mask, truth) for mask, truth in pairs]
            spent = 1000 * (time.process_time() - start) / len(pairs)
            times[name] = min(spent, times.get(name, spent))
    differing = sum(a != b for a, b in zip(values["plain"], values["ours"], strict=True))
    region, boundary = (100 * np.array(values["ours"]).mean(axis=0)).tolist()
    ratio = times["plain"] / times["ours"]
    return MetricsRow(len(pairs), times["plain"], times["ours"], ratio, region, boundary, differing)


def _made_up() -> list[Pair]:
    clip = ShippedClip()
    clip_frames = clip.open()
    pairs = []
    for frame in range(clip_frames.frame_count):
        for truth in clip.truth(frame):
            large = cv2.resize(truth.view(np.uint8), _SIZE[::-1], interpolation=cv2.INTER_NEAREST) > 0
            pairs.append((np.roll(large, _SHIFT, (0, 1)), large))
    clip_frames.close()
    return pairs


def _read(truth: Path, masks: Path) -> list[Pair]:
    folder = FrameFolder(truth)
    names = [f"{stem}.png" for stem in folder.stems]
    return [(read_mask(masks / name, folder.size), read_mask(truth / name, folder.size)) for name in names]
