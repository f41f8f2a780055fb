"""A bundle opened for a profile: engines that are probed, memory that is counted."""

from collections.abc import Callable
from contextlib import ExitStack

from glus_edge.benchmarks.instruments.bench_video import bench_sentences, bench_video
from glus_edge.benchmarks.profiler.frame_probe import FrameProbe, ProbedEngine
from glus_edge.benchmarks.profiler.memory_owners import MemoryOwners, OwnedDevice
from glus_edge.benchmarks.profiler.settings import ProfileSettings
from glus_edge.benchmarks.profiler.timed_video import TimedVideo
from glus_edge.benchmarks.profiler.trace import Trace
from glus_edge.runtime.backends.engine import Backend, Engine
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.open_backend import open_backend
from glus_edge.runtime.segmenter import Segmenter
from glus_edge.runtime.utils.process_memory import resident_bytes

Wrap = Callable[[Engine], Engine]


class ProbedBackend:
    """Opens engines that the probe hears of, on a device whose memory is counted."""

    def __init__(self, backend: Backend, probe: FrameProbe, owners: MemoryOwners, wrap: Wrap | None) -> None:
        """`wrap`: puts something around an engine, that its time is to include."""
        self.name = backend.name
        self.device = OwnedDevice(backend.device, owners)
        self.opened_bytes: dict[str, int] = {}
        self._backend, self._probe, self._wrap = backend, probe, wrap

    def open(self, graph: str) -> Engine:
        """See Backend."""
        before = resident_bytes()
        engine = self._backend.open(graph)
        after = resident_bytes()
        if before is not None and after is not None:
            self.opened_bytes[graph] = max(0, after - before)
        return ProbedEngine(self._wrap(engine) if self._wrap else engine, self._probe, self.device)


class Opened:
    """All that runs share. Use it as a context manager."""

    def __init__(self, settings: ProfileSettings, *, wrap: Wrap | None = None, trace: Trace | None = None) -> None:
        """Errors: those of the bundle and of the backend."""
        self.settings, self.trace, self.owners = settings, trace, MemoryOwners()
        self.probe = FrameProbe(trace)
        self.bundle = Bundle.open(settings.bundle)
        backend, pixels, choice = open_backend(self.bundle, settings.options)
        self.backend = ProbedBackend(backend, self.probe, self.owners, wrap)
        self.segmenter = Segmenter(self.bundle, self.backend, pixels, self.probe.stopwatch, choice)
        self.measured = 0  # frames
        self._stack = ExitStack()

    def video(self, frames: int) -> TimedVideo:
        """`frames` frames of what is shown, again and again. The caller closes it, or gives it to `keep`."""
        return TimedVideo(bench_video(self.settings.video, frames), self.owners, self.trace)

    def keep(self, video: TimedVideo) -> TimedVideo:
        """Closes it with the rest."""
        self._stack.callback(video.close)
        return video

    def sentences(self, count: int) -> tuple[str, ...]:
        """To be asked."""
        return bench_sentences(count)

    def __enter__(self) -> "Opened":
        self._stack.enter_context(self.segmenter)
        self._stack.enter_context(self.probe)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
