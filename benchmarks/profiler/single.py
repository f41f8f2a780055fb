"""The scenario `single`: a frame arrives when the last one is done. It is decoded then, not ahead."""

import time
from dataclasses import asdict

from glus_edge.benchmarks.profiler.opened import Opened
from glus_edge.benchmarks.profiler.run_builder import RunBuilder
from glus_edge.benchmarks.profiler.settings import BLOCK_FRAMES, WARM_UP_FRAMES


class SingleRunner:
    """One contender, block by block."""

    def __init__(self, opened: Opened, builder: RunBuilder) -> None:
        settings = opened.settings
        self._opened, self._builder = opened, builder
        self._video = opened.keep(opened.video(WARM_UP_FRAMES + settings.blocks * BLOCK_FRAMES))
        self._frames = self._video.frames()
        self._session = opened.segmenter.stream(builder.sentences, **asdict(settings.choice(builder.policy)))

    def warm_up(self) -> None:
        """Fills memory slots and query window."""
        for _ in range(WARM_UP_FRAMES):
            self._opened.probe.begin()
            self._session.push(next(self._frames).rgb)
            self._opened.probe.end()

    def block(self) -> None:
        """Measures the next block."""
        probe = self._opened.probe
        with self._builder.turn() as block:
            for _ in range(BLOCK_FRAMES):
                probe.begin()
                begin = time.perf_counter()
                frame = next(self._frames)
                probe.stage("decode", begin, time.perf_counter())
                result = self._session.push(frame.rgb)
                probed = probe.end()
                self._builder.add(
                    probed,
                    result,
                    stream=0,
                    index=frame.index - WARM_UP_FRAMES,
                    block=block,
                    arrived=probed.started,
                    decode_ms=self._video.decode_ms(frame.index),
                )
