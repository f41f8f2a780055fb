"""The context/query loop: one pass over consecutive frames. `Propagation.step` is the algorithm."""

from typing import NamedTuple

import numpy as np

from glus_edge.runtime.loop.propagation_state import PropagationState
from glus_edge.runtime.loop.result import FrameResult, Scores
from glus_edge.runtime.loop.sentence_batch import SentenceBatch
from glus_edge.runtime.pixels.preprocess import masks_from_logits
from glus_edge.runtime.policies.loop_rules import LoopRules
from glus_edge.runtime.policies.lost_target import TargetVerdict
from glus_edge.runtime.policies.mask_signals import MaskSignals
from glus_edge.runtime.policies.memory_rule import MemoryRecord
from glus_edge.runtime.policies.needs import Needs
from glus_edge.runtime.policies.scene_change import SceneColors
from glus_edge.runtime.tracking.mask_tracker import TrackedMasks
from glus_edge.runtime.video.frame import Frame


class DecodedFrame(NamedTuple):
    """The masks of all sentences on one frame."""

    masks: TrackedMasks
    signals: dict[int, MaskSignals]  # of the sentences that have a mask; empty where no rule needs them


class Propagation:
    """From the key frame to the video's end, or back to its beginning; or over a live stream.

    With the rule `always` every frame is asked about, and one without [SEG] has no mask, as in the reference. With any
    other, embeddings serve until they are replaced.
    """

    def __init__(
        self, batch: SentenceBatch, rules: LoopRules | None = None, state: PropagationState | None = None
    ) -> None:
        """`rules`: the reference's where none are given. `state`: goes on from there."""
        self.batch = batch
        self._rules = rules or LoopRules()
        self._needs = self._rules.needs
        self._state = state or PropagationState.start(batch, self._rules.memory)

    def step(self, frame: Frame, *, may_ask: bool = True) -> FrameResult:
        """The masks of the next frame. Without `may_ask` the rules' question waits, unless there is no embedding yet."""
        self._begin(frame)
        asked = self._state.age is None or (may_ask and self._must_ask(frame))
        if asked:
            self._ask(frame)
        decoded = self._track(frame, asked)
        if decoded is not None and may_ask and not asked and self._doubts(decoded):
            asked = True
            self._ask(frame)
            decoded = self._decode(asked)
        verdicts = self._record(decoded, asked)
        return self._result(frame, decoded, verdicts, asked)

    def restart_conversation(self) -> None:
        """Lets the next window begin with one turn: the context has changed, and nothing behind it is cached."""
        self._state.window, self._state.asked = (), 0

    def fork(self) -> "Propagation":
        """The other way from here: the same sentences and state, in buffers of its own."""
        return Propagation(self.batch, self._rules, self._state.select(tuple(range(self.batch.sentences))))

    def select(self, sentences: tuple[int, ...]) -> "Propagation":
        """The same loop for some of its sentences, in a batch of their own; each goes on as it would have."""
        return Propagation(self.batch.select(sentences), self._rules, self._state.select(sentences))

    def _begin(self, frame: Frame) -> None:
        state = self._state
        self.batch.shared.features.begin(frame)
        state.recent = (*state.recent, frame)[-self.batch.window_policy.query_frames :]
        state.age = None if state.age is None else state.age + 1

    def _must_ask(self, frame: Frame) -> bool:
        """Whether to ask before the frame is decoded."""
        state = self._state
        assert state.age is not None, "the first frame is asked about, whatever the rules"
        if not state.back_off.allows(state.age):
            return False
        if state.back_off.owed:
            return True
        change = 0.0 if state.scene is None else state.scene.change(frame)
        if self._rules.refresh.ask_before(state.age, tuple(state.signals.values()), change):
            return True
        return any(self._rules.lost.wants_question(target, state.age, change) for target in state.targets)

    def _doubts(self, decoded: DecodedFrame) -> bool:
        """Whether to ask now that the frame has been decoded."""
        state, age = self._state, self._state.age or 0
        trusted = tuple(each for i, each in decoded.signals.items() if not state.targets[i].lost)
        return state.back_off.allows(age) and self._rules.refresh.ask_after(age, trusted)

    def _ask(self, frame: Frame) -> None:
        """New embeddings for the sentences that get a [SEG]."""
        state, policy, tokens = self._state, self.batch.window_policy, self.batch.shared.tokens
        window = policy.window(state.step if policy.contiguous else state.asked)
        if policy.contiguous:
            shown = state.recent[-window.turns :]
            frames = tuple(each.index for each in shown)
        else:
            shown = (frame,)
            frames = (*state.window, frame.index)[-window.turns :]
        for each in shown:
            tokens.add(each)
        dropped = len(state.window) + 1 - window.turns if window.keep else 0
        answer = self.batch.ask(frames, dropped)
        if self._rules.refresh.asks_always:
            state.embeddings.replace(answer)
        else:
            state.embeddings.update(answer)
            state.back_off = state.back_off.after(bool(answer.segmented.all()))
        state.window, state.age, state.asked = frames, 0, state.asked + 1
        if Needs.SCENE_CHANGE in self._needs:
            state.scene = SceneColors.read(frame)

    def _track(self, frame: Frame, asked: bool) -> DecodedFrame | None:
        """None: no sentence has an embedding."""
        if not self._state.embeddings.known.any():
            return None
        self.batch.shared.features.encode(frame)
        self._state.tracker.condition()
        return self._decode(asked)

    def _decode(self, asked: bool) -> DecodedFrame:
        """The masks that the embeddings stand for now; `asked`: they are of this very frame."""
        state = self._state
        masks = state.tracker.decode(state.embeddings.values)
        if Needs.MASK_SIGNALS not in self._needs:
            return DecodedFrame(masks, {})
        look = not asked and self._rules.refresh.looks_without_memory(state.age or 0)
        signals = state.reader.read(
            masks.mask_logits,
            masks.predicted_iou,
            masks.object_score,
            masks.all_mask_logits,
            state.tracker.decode_without_memory(state.embeddings.values) if look else None,
        )
        return DecodedFrame(masks, {i: signals[i] for i in self._known()})

    def _record(self, decoded: DecodedFrame | None, asked: bool) -> dict[int, TargetVerdict]:
        """Keeps what the next frame needs, memories included, and says what becomes of each mask."""
        state, step = self._state, self._state.step
        verdicts = {} if decoded is None else dict.fromkeys(self._known(), TargetVerdict())
        memories = {i: MemoryRecord(step) for i in verdicts}
        observed = {} if decoded is None else decoded.signals
        for i, seen in observed.items():
            state.targets[i], verdicts[i] = self._rules.lost.observe(state.targets[i], seen, asked)
            memories[i] = MemoryRecord(step, seen.predicted_iou, seen.object_score, seen.growth, seen.contested, asked)
            if verdicts[i].restart:
                state.tracker.forget(i)
        state.tracker.remember(step, {i: memory for i, memory in memories.items() if verdicts[i].remember})
        if decoded is not None and Needs.MASK_SIGNALS in self._needs:
            state.signals = {i: each for i, each in observed.items() if not state.targets[i].lost}
            state.reader.observe(decoded.masks.mask_logits, asked)
        state.step += 1
        return verdicts

    def _result(
        self, frame: Frame, decoded: DecodedFrame | None, verdicts: dict[int, TargetVerdict], asked: bool
    ) -> FrameResult:
        sentences, stopwatch = self.batch.sentences, self.batch.shared.stopwatch
        tracked = None if decoded is None else decoded.masks
        with stopwatch.stage("masks"):
            masks = np.zeros((sentences, *frame.size), np.bool_)
            shown = [sentence for sentence, verdict in verdicts.items() if verdict.visible]
            if tracked is not None and shown:
                masks[shown] = masks_from_logits(tracked.mask_logits[shown], *frame.size)
        return FrameResult(frame.index, masks, _scores(tracked, verdicts, sentences), stopwatch.drain(), asked)

    def _known(self) -> list[int]:
        """The sentences that have an embedding, and so a mask."""
        known: list[int] = np.flatnonzero(self._state.embeddings.known).tolist()
        return known


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
