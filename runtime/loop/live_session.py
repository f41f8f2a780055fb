"""Live video: frames in, masks out, nothing known of what comes. The context is chosen from the past."""

from collections.abc import Sequence

import numpy as np

from glus_edge.runtime.errors import InputError
from glus_edge.runtime.loop.propagation import Propagation
from glus_edge.runtime.loop.result import FrameResult, Scores
from glus_edge.runtime.loop.sentence_batch import SentenceBatch
from glus_edge.runtime.loop.shared_state import SharedState
from glus_edge.runtime.policies.context import CausalContext
from glus_edge.runtime.policies.loop_rules import LoopRules
from glus_edge.runtime.policies.window import WindowPolicy
from glus_edge.runtime.video.frame import Frame


class LiveSession:
    """One stream of frames and its sentences, which may come and go. Memory does not grow with the stream.

    Sentences that came together are one batch; one that comes later has a conversation and a memory of its own, which
    begin with the next frame. All share the context and everything that is computed of a frame.
    """

    def __init__(self, shared: SharedState, window_policy: WindowPolicy, rules: LoopRules) -> None:
        self._shared, self._window_policy, self._rules = shared, window_policy, rules
        self._context = CausalContext(shared.bundle.manifest.window.context_frames)
        self._propagations: list[Propagation] = []  # one a batch of sentences
        self._index = 0

    @property
    def sentences(self) -> tuple[str, ...]:
        """In the order of the results' masks and scores."""
        return tuple(text for each in self._propagations for text in each.batch.texts)

    def add(self, *sentences: str) -> range:
        """Asks for these as well, from the next frame on, with an empty memory. Returns their numbers.

        InputError: a sentence says nothing, or holds a reserved token.
        """
        if not sentences:
            raise InputError("add: got no sentence, expected at least one")
        count = len(self.sentences)
        batch = SentenceBatch(self._shared, sentences, self._window_policy)
        self._propagations.append(Propagation(batch, self._rules))
        return range(count, count + len(sentences))

    def remove(self, number: int) -> None:
        """Drops a sentence; those behind it move up by one. InputError: there is no such number."""
        if number not in range(len(self.sentences)):
            raise InputError(f"remove: got {number!r}, expected 0 to {len(self.sentences) - 1}, a sentence's number")
        for place, propagation in enumerate(self._propagations):
            count = propagation.batch.sentences
            if number < count:
                rest = tuple(each for each in range(count) if each != number)
                self._propagations[place : place + 1] = [propagation.select(rest)] if rest else []
                return
            number -= count

    def push(self, rgb: object, *, may_ask: bool = True) -> FrameResult:
        """The masks of the next frame, uint8 [H, W, 3]; frames may differ in size.

        `may_ask` False: there is no time for the language model on this frame. What the rules would have asked is asked
        about a later one; a sentence about which nothing has been asked yet, and a context that is due, do not wait.

        A numpy array, or any object with `__dlpack__` or `__cuda_array_interface__`. CUDA memory is read in place where
        pixels are made on the device, behind what its producer has enqueued; it may be written again when this returns.
        InputError: it is no such picture.
        """
        frame = Frame(self._index, 0.0, self._shared.picture(rgb))
        self._shared.tokens.add(frame)  # first of all: a frame that an engine refuses was never seen
        context = self._context.see(self._index)
        self._index += 1
        if context is not None:
            self._shared.read_context(context)
            for propagation in self._propagations:
                propagation.restart_conversation()
        self._shared.tokens.pin(frozenset(self._context.kept) | frozenset(self._shared.context))
        result = _joined(frame, [each.step(frame, may_ask=may_ask) for each in self._propagations], self._shared)
        self._shared.wait_until_read()
        return result


def _joined(frame: Frame, results: Sequence[FrameResult], shared: SharedState) -> FrameResult:
    """The results of all batches as one."""
    if len(results) == 1:
        return results[0]
    timings: dict[str, float] = {}
    for result in results:
        for stage, spent in result.timings.items():
            timings[stage] = timings.get(stage, 0.0) + spent
    scores: list[Scores] = [score for result in results for score in result.scores]
    return FrameResult(
        frame.index,
        np.concatenate([np.zeros((0, *frame.size), np.bool_), *(result.masks for result in results)]),
        tuple(scores),
        timings or shared.stopwatch.drain(),
        any(result.asked for result in results),
    )
