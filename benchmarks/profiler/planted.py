"""Is what is planted found? `python -m glus_edge.benchmarks.profiler.planted`: a stage made slower, or a leak.

Two contenders of one bundle take turns. One of them waits after each run of a graph for a share of what that run took.
"""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path

from glus_edge.benchmarks.profiler.comparison import LATENCY, SLOWER, RunComparison, compare_runs
from glus_edge.benchmarks.profiler.memory_slope import leaking, memory_slopes
from glus_edge.benchmarks.profiler.profile import measured_in_turns
from glus_edge.benchmarks.profiler.settings import ProfileSettings
from glus_edge.runtime.backends.engine import Engine
from glus_edge.runtime.backends.wrapped_engine import WrappedEngine
from glus_edge.runtime.bundle.shipped import shipped_bundle
from glus_edge.runtime.device.device import Array
from glus_edge.runtime.open_backend import SegmenterOptions

LEAK_BYTES, LEAK_FRAMES = 1_000_000, 100
GRAPHS = ("image_encoder", "mask_decoder", "memory_attention", "memory_encoder")  # each is one stage


class Plant:
    """What is planted, and whether it is at work."""

    def __init__(self, graph: str = "", share: float = 0.0, leak_bytes: int = 0) -> None:
        """`share` of each run of `graph`, waited after it; `leak_bytes` kept for ever with each run."""
        self.graph, self.share, self.leak_bytes = graph, share, leak_bytes
        self.active = False
        self.kept: list[bytearray] = []

    def around(self, engine: Engine) -> Engine:
        """The engine, or one that does what is planted."""
        return PlantedEngine(engine, self) if engine.name == self.graph else engine


class PlantedEngine(WrappedEngine):
    """An engine that something was planted in."""

    def __init__(self, engine: Engine, plant: Plant) -> None:
        super().__init__(engine)
        self._plant = plant

    def run(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """See Engine."""
        begin = time.perf_counter()
        super().run(inputs, outputs)
        now = time.perf_counter()
        if not self._plant.active:
            return
        end = now + self._plant.share * (now - begin)
        while time.perf_counter() < end:  # a sleep would be some 50 us too long
            pass
        if self._plant.leak_bytes:
            self._plant.kept.append(bytearray(b"x") * self._plant.leak_bytes)


def compared(bundle: Path, frames: int, graph: str, share: float) -> RunComparison:
    """One trial: twice the same, with `share` planted in the second's `graph`."""
    plant = Plant(graph, share)

    def activate(contender: int) -> None:
        plant.active = contender == 1

    settings = ProfileSettings(bundle, SegmenterOptions("onnxruntime"), frames=frames, policies=("window", "window"))
    first, second = measured_in_turns(settings, plant.around, activate)
    return compare_runs(first, second, paired=True)


def leak_found(bundle: Path, frames: int, leak_bytes: int) -> list[str]:
    """The owners that leak, as a run of `frames` shows it."""
    plant = Plant("mask_decoder", leak_bytes=leak_bytes)

    def activate(contender: int) -> None:
        plant.active = True

    settings = ProfileSettings(bundle, SegmenterOptions("onnxruntime"), frames=frames)
    (run,) = measured_in_turns(settings, plant.around, activate)
    for slope in memory_slopes(run.machine):
        print(f"  {slope.owner}: {slope.bytes_a_frame:+.0f} bytes a frame, {slope.least_bytes_a_frame:+.0f} at least")
    return list(leaking(memory_slopes(run.machine)))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20, help="(default: %(default)s)")
    parser.add_argument("--frames", type=int, default=240, help="of each contender in a trial (default: %(default)s)")
    parser.add_argument("--share", type=float, default=0.1, help="planted; 0: nothing (default: %(default)s)")
    parser.add_argument("--leak-frames", type=int, metavar="N", help="instead: 1 MB in 100 frames, over N frames")
    arguments = parser.parse_args()
    bundle = shipped_bundle()
    if arguments.leak_frames:
        for size in (LEAK_BYTES // LEAK_FRAMES, 0):
            print(f"{size} bytes a frame planted: leaks {leak_found(bundle, arguments.leak_frames, size) or 'none'}")
        return
    right = 0
    for trial in range(arguments.trials):
        graph = GRAPHS[trial % len(GRAPHS)]
        comparison = compared(bundle, arguments.frames, graph, arguments.share)
        named = [each for each in comparison.stages if each.verdict == SLOWER and each.stage != LATENCY]
        good = [each.stage for each in named] == ([graph] if arguments.share else [])
        right += good
        shown = ", ".join(f"{each.stage} {each.change:+.1%}" for each in named) or "none"
        print(f"trial {trial + 1}: {graph} {arguments.share:+.0%} planted, slower: {shown}", flush=True)
    print(f"right: {right} of {arguments.trials}")


if __name__ == "__main__":
    main()
