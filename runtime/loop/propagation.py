"""The context/query loop: one pass over consecutive frames. `Propagation.step` is the algorithm."""

import numpy as np

from glus_edge.runtime.loop.result import FrameResult, Scores
from glus_edge.runtime.loop.sentence_batch import SentenceBatch
from glus_edge.runtime.pixels.preprocess import masks_from_logits
from glus_edge.runtime.policies.loop_rules import LoopRules
from glus_edge.runtime.policies.lost_target import TargetState, TargetVerdict
from glus_edge.runtime.policies.mask_signals import MaskSignalReader, MaskSignals
from glus_edge.runtime.policies.memory_rule import MemoryRecord
from glus_edge.runtime.policies.refresh import BackOff
from glus_edge.runtime.policies.scene_change import SceneChange
from glus_edge.runtime.tracking.mask_tracker import TrackedMasks
from glus_edge.runtime.video.frame import Frame


class Propagation:
    """From the key frame to the video's end, or back to its beginning; or over a live stream.

    With the rule `always` every frame is asked about, and one without [SEG] has no mask, as in the reference. With any
    other, embeddings serve until they are replaced.
    """

    def __init__(self, session: SentenceBatch, rules: LoopRules | None = None) -> None:
        self.session = session
        self._rules = rules or LoopRules()
        self._tracker = session.tracker(self._rules.memory)
        self._embedding = session.new_embedding()
        self._known = np.zeros(session.sentences, np.bool_)  # sentences that have an embedding
        self._targets = [TargetState()] * session.sentences
        self._back_off = BackOff()
        self._step = 0
        self._age: int | None = None  # frames since the language model was asked
        self._window: list[int] = []  # query frames of the last prompt
        self._asked = 0  # questions since the conversation began
        self._recent: list[Frame] = []  # the frames a contiguous window may show
        self._reader = MaskSignalReader(session.sentences)
        self._signals: dict[int, MaskSignals] = {}  # of the frame before, of sentences whose object is not lost
        self._scene = SceneChange()  # of the frame asked about last

    def step(self, frame: Frame, *, may_ask: bool = True) -> FrameResult:
        """The masks of the next frame. Without `may_ask` the rules' question waits, unless there is no embedding yet."""
        session, stopwatch = self.session, self.session.stopwatch
        session.features.begin(frame)
        self._recent = [*self._recent, frame][-session.query_frames :]
        self._age = None if self._age is None else self._age + 1
        asked = self._age is None or (may_ask and self._must_ask(frame))
        if asked:
            self._ask(frame)
        tracked, verdicts = None, {}
        if self._known.any():
            session.features.encode(frame)
            self._tracker.condition()
            tracked = self._tracker.decode(self._embedding)
            signals = self._read(tracked, asked)
            if not asked and may_ask and self._doubts(signals):
                asked = True
                self._ask(frame)
                tracked = self._tracker.decode(self._embedding)
                signals = self._read(tracked, asked)
            verdicts = self._watch(tracked, signals, asked)
        else:
            self._tracker.remember(self._step, {})
        with stopwatch.stage("masks"):
            masks = np.zeros((session.sentences, *frame.size), np.bool_)
            shown = [sentence for sentence, verdict in verdicts.items() if verdict.visible]
            if tracked is not None and shown:
                masks[shown] = masks_from_logits(tracked.mask_logits[shown], *frame.size)
        self._step += 1
        return FrameResult(frame.index, masks, _scores(tracked, verdicts, session.sentences), stopwatch.take(), asked)

    def restart_conversation(self) -> None:
        """Lets the next window begin with one turn: the context has changed, and nothing behind it is cached."""
        self._window, self._asked = [], 0

    def fork(self) -> "Propagation":
        """The other way from here: same window, memory, embeddings and step, in buffers of its own."""
        return self._copied_to(Propagation(self.session, self._rules), tuple(range(self.session.sentences)))

    def of(self, sentences: tuple[int, ...]) -> "Propagation":
        """The same loop for some of its sentences, in a session of their own; each goes on as it would have."""
        return self._copied_to(Propagation(self.session.of(sentences), self._rules), sentences)

    def _copied_to(self, other: "Propagation", sentences: tuple[int, ...]) -> "Propagation":
        self._tracker.copy_to(other._tracker, sentences)
        for row, sentence in enumerate(sentences):
            self.session.copy_embedding(other._embedding[row], self._embedding[sentence])
        other._known, other._targets = self._known[list(sentences)], [self._targets[i] for i in sentences]
        other._step, other._age, other._back_off = self._step, self._age, self._back_off.copy()
        other._window, other._asked, other._recent = list(self._window), self._asked, list(self._recent)
        other._reader, other._scene = self._reader.of(sentences), self._scene.copy()
        other._signals = {row: self._signals[i] for row, i in enumerate(sentences) if i in self._signals}
        return other

    def _must_ask(self, frame: Frame) -> bool:
        assert self._age is not None, "the first frame is asked about, whatever the rules"
        if not self._back_off.allows(self._age):
            return False
        if self._back_off.owed:
            return True
        change = self._scene.change(frame) if self._rules.watches_scene else 0.0
        wanted = (target.wants_question(self._age, change, self._rules.lost) for target in self._targets)
        return self._rules.refresh.ask_before(self._age, tuple(self._signals.values()), change) or any(wanted)

    def _ask(self, frame: Frame) -> None:
        """New embeddings for the sentences that get a [SEG]."""
        session, policy = self.session, self.session.policy
        always = self._rules.refresh.name == "always"
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
        segmented = session.ask(frames, dropped, self._embedding, keep=not always)
        self._known = segmented if always else self._known | segmented
        if not always:
            self._back_off.note(bool(segmented.all()))
        self._window, self._age, self._asked = frames, 0, self._asked + 1
        if self._rules.watches_scene:
            self._scene.note(frame)

    def _read(self, tracked: TrackedMasks, asked: bool) -> dict[int, MaskSignals]:
        """Of every sentence that has a mask, if any rule looks at them."""
        if not self._rules.reads_signals:
            return {}
        look = not asked and self._rules.refresh.looks_without_memory(self._age or 0)
        signals = self._reader.read(
            tracked.mask_logits,
            tracked.predicted_iou,
            tracked.object_score,
            tracked.all_mask_logits,
            self._tracker.decode_without_memory(self._embedding) if look else None,
        )
        return {i: signals[i] for i in np.flatnonzero(self._known).tolist()}

    def _doubts(self, signals: dict[int, MaskSignals]) -> bool:
        age = self._age or 0
        trusted = tuple(each for i, each in signals.items() if not self._targets[i].lost)
        return self._back_off.allows(age) and self._rules.refresh.ask_after(age, trusted)

    def _watch(self, tracked: TrackedMasks, signals: dict[int, MaskSignals], asked: bool) -> dict[int, TargetVerdict]:
        """Keeps what the next frame needs, memories included, and says what becomes of each mask."""
        known = np.flatnonzero(self._known).tolist()
        if not self._rules.reads_signals:
            self._tracker.remember(self._step, {i: MemoryRecord(self._step) for i in known})
            return dict.fromkeys(known, TargetVerdict())
        verdicts, memories = {}, {}
        for i, seen in signals.items():
            self._targets[i], verdicts[i] = self._targets[i].after(seen, asked, self._rules.lost)
            if verdicts[i].restart:
                self._tracker.forget(i)
            if verdicts[i].remember:
                memories[i] = MemoryRecord(
                    self._step, seen.predicted_iou, seen.object_score, seen.growth, seen.contested, asked
                )
        self._tracker.remember(self._step, memories)
        self._reader.note(tracked.mask_logits, asked)
        self._signals = {i: each for i, each in signals.items() if not self._targets[i].lost}
        return verdicts


def _scores(tracked: TrackedMasks | None, verdicts: dict[int, TargetVerdict], sentences: int) -> tuple[Scores, ...]:
    return tuple(
        Scores(
            predicted_iou=float(tracked.predicted_iou[i]),
            object_score=float(tracked.object_score[i]),
            segmented=True,
            selected_mask=int(tracked.selected_mask[i]),
            visible=verdicts[i].visible,
        )
        if tracked is not None and i in verdicts
        else Scores(None, None, False, None)
        for i in range(sentences)
    )
