"""The baseline in a process of its own: its memory and threads are not the runtime's, and the two take turns."""

import multiprocessing
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType

import numpy as np

from glus_edge.benchmarks.instruments.bench_video import bench_video
from glus_edge.benchmarks.instruments.contender import BLOCK_FRAMES, FrameBlock, FrameSample
from glus_edge.benchmarks.reference.baseline import BaselineSource, open_reference
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.errors import EngineError, GlusEdgeError
from glus_edge.runtime.utils.process_memory import peak_bytes

QUITTING_SECONDS = 10


@dataclass(frozen=True)
class ReferenceSettings:
    """All the process needs; it travels there by pickle."""

    bundle: Path
    source: BaselineSource
    video: Path | None  # as `bench_video` takes it
    frames: int  # of the whole run
    sentence: str
    threads: int  # 0: every usable one


class ReferenceProcess:
    """Use it as a context manager; memory and threads go with it."""

    def __init__(self, settings: ReferenceSettings) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy ONNX Runtime's threads half-way
        self._connection, other_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(other_end, settings), daemon=True)
        self._process.start()
        other_end.close()

    def block(self, frames: int = BLOCK_FRAMES) -> FrameBlock:
        """Runs the next frames. Errors: those of `Reference`; EngineError if the process has died."""
        block = self._ask(frames)
        assert isinstance(block, FrameBlock)
        return block

    def peak_bytes(self) -> int:
        """The most memory the process has had resident."""
        peak = self._ask("peak")
        assert isinstance(peak, int)
        return peak

    def _ask(self, request: int | str) -> FrameBlock | int:
        try:
            self._connection.send(request)
            answer: FrameBlock | int | Exception = self._connection.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            self._process.join(QUITTING_SECONDS)
            raise EngineError(
                f"baseline: its process ended (exit code {self._process.exitcode}), expected frames; it holds the whole "
                "model in float32: is there memory enough?"
            ) from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def __enter__(self) -> "ReferenceProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()  # the process reads the end of its requests and quits
        self._process.join(QUITTING_SECONDS)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()


def _serve(connection: Connection, settings: ReferenceSettings) -> None:
    frames: Iterator[FrameSample] | None = None
    while True:
        try:
            request = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        if request == "peak":
            connection.send(peak_bytes())
            continue
        try:
            frames = frames or _frames(settings)
            start = time.process_time()
            samples = [next(frames) for _ in range(request)]
            connection.send(FrameBlock(samples, (time.process_time() - start) * 1e3))
        except (GlusEdgeError, ModuleNotFoundError) as error:
            connection.send(error)
            return
        except KeyboardInterrupt:
            return


def _frames(settings: ReferenceSettings) -> Iterator[FrameSample]:
    reference = open_reference(settings.source, Bundle.open(settings.bundle), settings.threads)
    results = reference.segment(bench_video(settings.video, settings.frames), settings.sentence)
    while True:
        start = time.perf_counter()
        result = next(results)
        milliseconds = (time.perf_counter() - start) * 1e3
        yield FrameSample(milliseconds, result.timings, result.segmented, np.packbits(result.mask))
