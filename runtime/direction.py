"""The context/query loop: one pass over consecutive frames. `Direction.step` is the algorithm."""

import cv2
import numpy as np
from numpy.typing import NDArray

from glus_edge.runtime.frame import Frame
from glus_edge.runtime.mask_tracker import Tracked
from glus_edge.runtime.preprocess import masks_from_logits
from glus_edge.runtime.refresh import BackOff, RefreshRule, Signals
from glus_edge.runtime.result import FrameResult, Scores
from glus_edge.runtime.session import Session

_HISTOGRAM_SIDE = 128  # pixels; the frame is reduced to this before its colours are counted


class Direction:
    """From the key frame to the video's end, or back to its beginning; or over a live stream.

    With the rule `always` every frame is asked about, and one without [SEG] has no mask, as in the reference. With any
    other, embeddings serve until they are replaced.
    """

    def __init__(self, session: Session, refresh: RefreshRule | None = None) -> None:
        self.session = session
        self._refresh = refresh or RefreshRule()
        self._tracker = session.tracker()
        self._embedding = session.new_embedding()
        self._known = np.zeros(session.sentences, np.bool_)  # sentences that have an embedding
        self._back_off = BackOff()
        self._step = 0
        self._age: int | None = None  # frames since the language model was asked
        self._window: list[int] = []  # query frames of the last prompt
        self._asked = 0
        self._recent: list[Frame] = []  # the frames a contiguous window may show
        self._signals: tuple[Signals, ...] = ()
        self._logits: NDArray[np.bool_] | None = None  # the masks of the frame before, at the decoder's size
        self._histogram: NDArray[np.float32] | None = None  # of the frame asked about last

    def step(self, frame: Frame) -> FrameResult:
        """The masks of the next frame."""
        session, stopwatch = self.session, self.session.stopwatch
        session.features.begin(frame)
        self._recent = [*self._recent, frame][-session.query_frames :]
        self._age = None if self._age is None else self._age + 1
        asked = self._age is None or (
            self._back_off.allows(self._age)
            and self._refresh.ask_before(self._age, self._signals, self._scene_change(frame))
        )
        if asked:
            self._ask(frame)
        tracked = None
        if self._known.any():
            session.features.encode(frame)
            self._tracker.condition(self._step)
            tracked = self._tracker.decode(self._embedding)
            if not asked and self._doubts(tracked):
                asked = True
                self._ask(frame)
                tracked = self._tracker.decode(self._embedding)
            self._tracker.remember(self._step, frozenset(np.flatnonzero(self._known).tolist()))
        with stopwatch.stage("masks"):
            masks = np.zeros((session.sentences, *frame.size), np.bool_)
            if tracked is not None:
                masks[self._known] = masks_from_logits(tracked.mask_logits[self._known], *frame.size)
                self._watch(tracked)
        self._step += 1
        return FrameResult(frame.index, masks, _scores(tracked, self._known.tolist()), stopwatch.take(), asked)

    def fork(self) -> "Direction":
        """The other way from here: same window, memory, embeddings and step, in buffers of its own."""
        other = Direction(self.session, self._refresh)
        self._tracker.copy_to(other._tracker)
        self.session.copy_embedding(other._embedding, self._embedding)
        other._known, other._step, other._age = self._known.copy(), self._step, self._age
        other._window, other._asked, other._recent = list(self._window), self._asked, list(self._recent)
        other._signals, other._logits, other._histogram = self._signals, self._logits, self._histogram
        return other

    def _ask(self, frame: Frame) -> None:
        """New embeddings for the sentences that get a [SEG]."""
        session, policy = self.session, self.session.policy
        window = policy.window(self._step if policy.contiguous else self._asked)
        if policy.contiguous:
            shown = self._recent[-window.turns :]
            for each in shown:
                session.tokens.add(each)
            frames = [each.index for each in shown]
        else:
            session.tokens.add(frame)
            frames = [*self._window, frame.index][-window.turns :]
        dropped = len(self._window) + 1 - window.turns if window.keep else 0
        segmented = session.ask(frames, dropped, self._embedding, keep=self._refresh.name != "always")
        self._known = segmented if self._refresh.name == "always" else self._known | segmented
        if self._refresh.name != "always":
            self._back_off.note(bool(segmented.all()))
        self._window, self._age, self._asked = frames, 0, self._asked + 1
        if self._refresh.watches_scene:
            self._histogram = _histogram(frame)

    def _doubts(self, tracked: Tracked) -> bool:
        age = self._age or 0
        return self._back_off.allows(age) and self._refresh.ask_after(age, self._read(tracked))

    def _watch(self, tracked: Tracked) -> None:
        """Keeps what the next frame's decision looks at."""
        if self._refresh.name != "always":
            self._signals = self._read(tracked)
            self._logits = tracked.mask_logits[:, 0] > 0

    def _read(self, tracked: Tracked) -> tuple[Signals, ...]:
        masks = tracked.mask_logits[:, 0] > 0
        before = masks if self._logits is None else self._logits
        return tuple(
            Signals(
                predicted_iou=float(tracked.predicted_iou[i]),
                object_score=float(tracked.object_score[i]),
                overlap=_overlap(masks[i], before[i]),
                area=float(masks[i].mean()),
            )
            for i in np.flatnonzero(self._known)
        )

    def _scene_change(self, frame: Frame) -> float:
        if not self._refresh.watches_scene or self._histogram is None:
            return 0.0
        return float(cv2.compareHist(self._histogram, _histogram(frame), cv2.HISTCMP_BHATTACHARYYA))


def _histogram(frame: Frame) -> NDArray[np.float32]:
    """Hue and saturation counts of the frame, 60 x 80 bins, as one distribution."""
    small = cv2.resize(frame.rgb, (_HISTOGRAM_SIDE, _HISTOGRAM_SIDE), interpolation=cv2.INTER_AREA)
    counts = cv2.calcHist([cv2.cvtColor(small, cv2.COLOR_RGB2HSV)], [0, 1], None, [60, 80], [0, 180, 0, 256])
    return np.asarray(counts / counts.sum(), np.float32)


def _overlap(mask: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    union = np.count_nonzero(mask | other)
    return 1.0 if union == 0 else np.count_nonzero(mask & other) / union


def _scores(tracked: Tracked | None, known: list[bool]) -> tuple[Scores, ...]:
    return tuple(
        Scores(
            predicted_iou=float(tracked.predicted_iou[i]),
            object_score=float(tracked.object_score[i]),
            segmented=True,
            selected_mask=int(tracked.selected_mask[i]),
        )
        if tracked is not None and found
        else Scores(None, None, False, None)
        for i, found in enumerate(known)
    )
