"""The library's front door: a bundle, a video and sentences in; one result per frame out."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType

from glus_edge.runtime.backends.engine import Backend
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.shipped import shipped_bundle
from glus_edge.runtime.errors import InputError
from glus_edge.runtime.loop.live_session import LiveSession
from glus_edge.runtime.loop.propagation import Propagation
from glus_edge.runtime.loop.result import FrameResult
from glus_edge.runtime.loop.sentence_batch import SentenceBatch
from glus_edge.runtime.loop.shared_state import Engines, SharedState
from glus_edge.runtime.open_backend import BackendChoice, SegmenterOptions, open_backend
from glus_edge.runtime.pixels.tower_inputs import HostTowerInputs, TowerInputs
from glus_edge.runtime.policies.context import uniform_context
from glus_edge.runtime.policies.key_frame import KeyFrame, candidate_frames, key_frame_index
from glus_edge.runtime.policies.loop_rules import LoopRules, loop_choice
from glus_edge.runtime.policies.refresh_rule import RefreshRule
from glus_edge.runtime.policies.window import window_policy
from glus_edge.runtime.tracking.mask_tracker import SamEngines
from glus_edge.runtime.utils.pipeline import ahead
from glus_edge.runtime.utils.stopwatch import Stopwatch
from glus_edge.runtime.video.frame import Frame
from glus_edge.runtime.video.picture import Picture
from glus_edge.runtime.video.video import Video, open_video


class Segmenter:
    """A bundle with its engines open. Use it as a context manager, for as many videos as you like."""

    def __init__(
        self,
        bundle: Bundle,
        backend: Backend,
        pixels: TowerInputs | None = None,
        stopwatch: Callable[[], Stopwatch] = Stopwatch,
        choice: BackendChoice | None = None,
    ) -> None:
        """`pixels` makes the inputs of the image towers; the host does where none is given.

        `stopwatch` makes what times the stages of a video or a live session.
        """
        self.bundle = bundle
        self.backend = backend
        self.choice = choice or BackendChoice(backend.name, "given", automatic=False)  # why it is this backend
        self._stopwatch = stopwatch
        self._engines = Engines(
            clip_encoder=backend.open("clip_encoder"),
            language_model=backend.open("language_model"),
            sam=SamEngines(*(backend.open(graph) for graph in SamEngines._fields)),
            pixels=pixels or HostTowerInputs(backend.device, bundle.manifest.clip, bundle.manifest.sam),
        )

    @classmethod
    def open(cls, bundle: str | Path | None = None, options: SegmenterOptions | None = None) -> "Segmenter":
        """Opens and verifies a bundle and loads its graphs; without one, the small GLUS that ships with the package.

        Errors: BundleError (missing, damaged, newer), EngineError (a backend or provider this machine does not have).
        """
        options = options or SegmenterOptions()
        opened = Bundle.open(shipped_bundle() if bundle is None else bundle)
        backend, pixels, choice = open_backend(opened, options)
        return cls(opened, backend, pixels, choice=choice)

    def segment(
        self,
        video: Video | str | Path,
        sentences: Sequence[str],
        *,
        preset: str = "exact",
        policy: str | None = None,
        refresh: str | RefreshRule | None = None,
        memory: str | None = None,
        lost: str | None = None,
        key_frame: KeyFrame = "first",
    ) -> "VideoRun":
        """Masks of every frame for every sentence, as an iterator of FrameResult in the order they are computed.

        That is from the key frame to the end, then from the frame before it back to the first. `preset` names the rules of
        the loop, of which any can be given by itself. Everything asked for is checked before the first frame is computed.
        Errors: InputError (sentence, key frame, preset, policy, refresh, memory, lost), VideoError.
        """
        choice = loop_choice(preset, policy, refresh, memory, lost)
        rules = choice.rules()
        batch = self._batch(sentences, choice.policy)
        if isinstance(video, (str, Path)):
            video = open_video(video)
        context = uniform_context(video.frame_count, self.bundle.manifest.window.context_frames)
        start = None if key_frame == "auto" else key_frame_index(key_frame, video.frame_count)
        if start is None and not context and not self.bundle.manifest.model.scores_frames:
            raise InputError(
                "key frame: got 'auto', expected 'first', a frame number or a score file: "
                "this bundle has neither [SCORE] nor context frames to choose from"
            )
        return VideoRun(batch, video, context, start, rules)

    def picture(self, source: object) -> Picture:
        """The `picture` of a Frame for videos of your own, from a numpy array, DLPack or the CUDA Array Interface.

        InputError: no uint8 [H, W, 3], or it lies where it cannot be read.
        """
        return self._engines.pixels.picture(source)

    def stream(
        self,
        sentences: Sequence[str],
        *,
        preset: str = "exact",
        policy: str | None = "window",
        refresh: str | RefreshRule | None = None,
        memory: str | None = None,
        lost: str | None = None,
    ) -> LiveSession:
        """A live session: `push` frames, get masks; `add` and `remove` sentences, of which there may be none yet.

        Errors: InputError, as for `segment`.
        """
        choice = loop_choice(preset, policy, refresh, memory, lost)
        window = window_policy(choice.policy, self.bundle.manifest.window)
        live = LiveSession(SharedState(self.bundle, self._engines, self._stopwatch()), window, choice.rules())
        if len(sentences):
            live.add(*_checked(sentences))
        return live

    def _batch(self, sentences: Sequence[str], policy: str) -> SentenceBatch:
        window = window_policy(policy, self.bundle.manifest.window)
        return SentenceBatch(SharedState(self.bundle, self._engines, self._stopwatch()), _checked(sentences), window)

    def close(self) -> None:
        """Releases the engines."""
        for engine in (self._engines.clip_encoder, self._engines.language_model, *self._engines.sam):
            engine.close()
        self._engines.pixels.close()

    def __enter__(self) -> "Segmenter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class VideoRun:
    """One pass over a video. Iterate it once; what it will do can be read beforehand."""

    def __init__(
        self, batch: SentenceBatch, video: Video, context: tuple[int, ...], key_frame: int | None, rules: LoopRules
    ) -> None:
        self.video = video
        self.context_frames = context  # indices of the frames the language model sees throughout
        self._key_frame = key_frame  # None: the model is to choose
        self.rules = rules
        self._batch = batch
        self._results = self._run()

    def __len__(self) -> int:
        return self.video.frame_count

    @property
    def key_frame(self) -> int:
        """The frame the run starts from. If the model is to choose it, asking for it runs the frames it chooses of."""
        if self._key_frame is None:
            self._read_context()
            scores_frames = self._batch.shared.bundle.manifest.model.scores_frames
            self._key_frame = self._best_scored() if scores_frames else self._most_confident()
        return self._key_frame

    def __iter__(self) -> Iterator[FrameResult]:
        return (result for _, result in self._results)

    def with_frames(self) -> Generator[tuple[Frame, FrameResult], None, None]:
        """The same results, each with the picture it belongs to. Close it before the video is read by someone else."""
        return self._results

    def _run(self) -> Generator[tuple[Frame, FrameResult], None, None]:
        if self._key_frame is not None:
            self._read_context()
        key, count = self.key_frame, self.video.frame_count
        self._batch.shared.tokens.pin(frozenset(self.context_frames) | {key})
        forward = Propagation(self._batch, self.rules)
        with closing(self._ahead(key, count, 1)) as frames:
            first = self._next(frames)
            assert first is not None, "a video has a frame"
            yield first, forward.step(first)
            backward = forward.fork()
            yield from self._steps(forward, frames)
        if key:
            with closing(self._ahead(key - 1, -1, -1)) as frames:
                yield from self._steps(backward, frames)

    def _read_context(self) -> None:
        self._batch.shared.tokens.pin(frozenset(self.context_frames))
        for index in self.context_frames:
            self._batch.shared.tokens.add(self.video.read(index))
        self._batch.shared.read_context(self.context_frames)

    def _best_scored(self) -> int:
        """The frame of the highest [SCORE], the mean over sentences."""

        def score(index: int) -> float:
            self._batch.shared.tokens.add(self.video.read(index))
            return float(self._batch.score(index).mean())

        return max(candidate_frames(self.video.frame_count, self.context_frames), key=score)

    def _most_confident(self) -> int:
        """The context frame whose masks, were it the first, have the highest predicted IoU, the mean over sentences."""

        def confidence(index: int) -> float:
            scores = Propagation(self._batch).step(self.video.read(index)).scores
            return sum(each.predicted_iou or 0.0 for each in scores) / len(scores)

        return max(dict.fromkeys(self.context_frames), key=confidence)

    def _steps(self, propagation: Propagation, frames: Iterator[Frame]) -> Iterator[tuple[Frame, FrameResult]]:
        while (frame := self._next(frames)) is not None:
            yield frame, propagation.step(frame)

    def _ahead(self, start: int, stop: int, step: int) -> Generator[Frame, None, None]:
        pixels, asked = self._batch.shared.engines.pixels, self.rules.refresh.asks_always
        return ahead(pixels.prepared(frame, asked) for frame in self.video.frames(start, stop, step))

    def _next(self, frames: Iterator[Frame]) -> Frame | None:
        """The next frame, decoded and prepared in advance; what is waited for it counts as the frame's `decode`."""
        with self._batch.shared.stopwatch.stage("decode"):
            return next(frames, None)


def _checked(sentences: Sequence[str]) -> tuple[str, ...]:
    if isinstance(sentences, str):
        raise InputError(f"sentences: got the text {sentences[:60]!r}, expected a list of texts")
    if not sentences:
        raise InputError("sentences: got none, expected at least one")
    return tuple(sentences)
