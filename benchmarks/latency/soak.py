"""Does memory grow with the length of the video? Thousands of frames, and the resident bytes along the way."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass

from glus_edge.benchmarks.instruments.bench_video import bench_sentences, bench_video
from glus_edge.benchmarks.latency.measurement import BenchSettings
from glus_edge.runtime.errors import EngineError, InputError
from glus_edge.runtime.segmenter import Segmenter
from glus_edge.runtime.utils.process_memory import resident_bytes
from glus_edge.runtime.utils.progress import Progress

SETTLED_FRAMES = 100  # by then every buffer there will be has been written to
SAMPLES = 100
ALLOWED_GROWTH = 0.01


@dataclass(frozen=True)
class Soak:
    """One long run."""

    policy: str
    sentences: int
    frames: int
    resident: tuple[tuple[int, int], ...]  # frames done and bytes then, from SETTLED_FRAMES on

    @property
    def growth(self) -> float:
        """Of the most there was, over what there was when the run had settled."""
        settled = self.resident[0][1]
        return max(size for _, size in self.resident) / settled - 1


def soak(settings: BenchSettings, frames: int, progress: Progress) -> Soak:
    """Runs the first policy with the first number of sentences. InputError: too few frames to tell."""
    if frames < 2 * SETTLED_FRAMES:
        raise InputError(f"--soak: got {frames} frames, expected at least {2 * SETTLED_FRAMES}")
    policy, count = settings.policies[0], settings.sentences[0]
    marks = set(_marks(frames))
    resident = []
    with (
        closing(bench_video(settings.video, frames)) as video,
        Segmenter.open(settings.bundle, settings.options) as segmenter,
    ):
        results = segmenter.segment(video, bench_sentences(count), **asdict(settings.choice(policy)))
        for done, _ in enumerate(progress(results, frames, "soaking"), start=1):
            if done in marks:
                size = resident_bytes()
                if size is None:
                    raise EngineError("--soak: this system does not tell resident memory, expected Linux's /proc")
                resident.append((done, size))
    return Soak(policy, count, frames, tuple(resident))


def _marks(frames: int) -> Sequence[int]:
    step = max(1, (frames - SETTLED_FRAMES) // SAMPLES)
    return [*range(SETTLED_FRAMES, frames, step), frames]
