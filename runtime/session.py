"""The context/query loop: one set of sentences over one video. `Direction.step` is the algorithm."""

from dataclasses import dataclass

import numpy as np

from glus_edge.runtime.bundle import Bundle
from glus_edge.runtime.conversation import Conversation, Rows, check_sentence, rows_from_prompt
from glus_edge.runtime.engine import Engine
from glus_edge.runtime.errors import InputError
from glus_edge.runtime.frame import Frame
from glus_edge.runtime.frame_tokens import FrameTokens
from glus_edge.runtime.kv_cache import KeyValueCache
from glus_edge.runtime.language_step import LanguageStep, row_granule
from glus_edge.runtime.mask_tracker import ImageFeatures, MaskTracker, SamEngines, Tracked
from glus_edge.runtime.preprocess import masks_from_logits
from glus_edge.runtime.result import FrameResult, Scores
from glus_edge.runtime.stopwatch import Stopwatch
from glus_edge.runtime.window import Window, WindowPolicy


@dataclass(frozen=True)
class Engines:
    """The six graphs of a bundle, opened."""

    clip_encoder: Engine
    language_model: Engine
    sam: SamEngines


class Session:
    """All that lives as long as a video is segmented: buffers, caches, the conversation of each sentence."""

    def __init__(self, bundle: Bundle, engines: Engines, sentences: list[str], policy: WindowPolicy) -> None:
        manifest = bundle.manifest
        self.policy = policy
        self.stopwatch = Stopwatch()
        self.tokens_prefilled = 0  # rows a sentence, since the session began; the shared prefix counts once
        self._model, self._manifest, self._engines = manifest.model, manifest, engines
        tokenizer = bundle.tokenizer()
        for sentence in sentences:
            check_sentence(sentence, manifest.prompt)
        window = manifest.window
        self._conversations = [Conversation(s, manifest.prompt, tokenizer, window.context_frames) for s in sentences]
        self._check_lengths()
        # live video keeps up to twice the context frames, of which it will choose; a run from a key frame keeps that one
        places = 2 * window.context_frames + window.query_frames + 1
        self.tokens = FrameTokens(engines.clip_encoder, self._model, manifest.clip, places, self.stopwatch)
        self.features = ImageFeatures(engines.sam.image_encoder, self._model, manifest.sam, self.stopwatch)
        self._context: tuple[int, ...] = (0,) * window.context_frames
        prefix = self._prefix()
        self.language = LanguageStep(
            engines.language_model,
            self._model,
            bundle.token_embedding(),
            self.tokens,
            manifest.prompt.segment_token_id,
            len(prefix),
            len(sentences),
            self._cache_capacity(len(prefix)),
        )

    def read_context(self, frames: tuple[int, ...]) -> None:
        """Shows the language model these frames, whose tokens are held, as context for all that follows."""
        self._context = frames
        with self.stopwatch.stage("language_model"):
            self.language.read_prefix(self._prefix())
        self.tokens_prefilled += self.language.prefix

    def prompts(self, window: list[int]) -> list[Rows]:
        """Each sentence's prompt for a window of frames, the last of which is the one asked about."""
        frames = [*self._context, *window]
        return [
            rows_from_prompt(conversation.text(len(window) - 1), frames, self._model.image_tokens)
            for conversation in self._conversations
        ]

    def turn_lengths(self, turns: int) -> list[int]:
        """Rows of each sentence's first `turns` answered turns behind the prefix; all answered turns are equally long."""
        tokens = self._model.image_tokens
        return [each.text(turns).row_count(tokens) - each.text(0).row_count(tokens) for each in self._conversations]

    def direction(self) -> "Direction":
        """A fresh conversation and an empty memory."""
        tracker = MaskTracker(
            self._engines.sam,
            self._model,
            self._manifest.memory,
            self.features,
            len(self._conversations),
            self.stopwatch,
        )
        return Direction(self, tracker)

    def _prefix(self) -> Rows:
        """The rows every prompt begins with: up to the image of the first query frame."""
        text = self._conversations[0].text(0)
        pieces = type(text)(text.pieces[:-1])
        return rows_from_prompt(pieces, list(self._context), self._model.image_tokens)

    def _check_lengths(self) -> None:
        """InputError for a sentence whose longest prompt does not fit the language model."""
        limit = self._model.max_positions
        for number, conversation in enumerate(self._conversations):
            longest = conversation.text(self._manifest.window.query_frames - 1)
            length = longest.row_count(self._model.image_tokens)
            if length > limit:
                raise InputError(
                    f"sentence {number}: its prompt has {length} tokens, expected at most {limit}; "
                    f"shorten it by {length - limit} tokens or more ({self._manifest.window.query_frames} turns repeat it)"
                )

    def _cache_capacity(self, prefix: int) -> int:
        """Cache slots the policy's steps need, found by planning them with frames that are all different."""
        sentences, dtype = len(self._conversations), self._engines.language_model.signature.inputs[0].dtype
        book = KeyValueCache(sentences, prefix, 1 << 16, row_granule(self._model, dtype, sentences))
        capacity, window = 0, Window(0, keep=False)
        for step in range(4 * self._manifest.window.query_frames):
            previous, window = window, self.policy.window(step)
            if window.keep:
                book.drop_leading(self.turn_lengths(previous.turns + 1 - window.turns))
            prefill = book.plan([p[prefix:] for p in self.prompts(list(range(step + 1))[-window.turns :])])
            book.record(prefill)
            capacity = max(capacity, prefill.start + prefill.new_tokens)
        return capacity


class Direction:
    """One pass over consecutive frames: from the key frame to the video's end, or back to its beginning."""

    def __init__(self, session: Session, tracker: MaskTracker) -> None:
        self._session = session
        self._tracker = tracker
        self._window: list[int] = []
        self._step = 0

    def step(self, frame: Frame) -> FrameResult:
        """The masks of the next frame."""
        session, stopwatch = self._session, self._session.stopwatch
        session.features.begin(frame)
        session.tokens.add(frame)
        window = session.policy.window(self._step)
        with stopwatch.stage("language_model"):
            if window.keep:
                session.language.drop_leading(session.turn_lengths(len(self._window) + 1 - window.turns))
            self._window = [*self._window, frame.index][-window.turns :]
            answer = session.language.ask(session.prompts(self._window))
        session.tokens_prefilled += answer.new_tokens
        tracked = None
        if answer.segmented.any():
            session.features.encode(frame)
            tracked = self._tracker.track(self._step, answer.segment_embedding, answer.segmented)
        with stopwatch.stage("masks"):
            masks = np.zeros((len(answer.segmented), *frame.size), np.bool_)
            if tracked is not None:
                masks[answer.segmented] = masks_from_logits(tracked.mask_logits[answer.segmented], *frame.size)
        self._step += 1
        return FrameResult(frame.index, masks, _scores(tracked, answer.segmented.tolist()), stopwatch.take())

    def fork(self) -> "Direction":
        """The other way from here: same window, memory and step, in buffers of its own."""
        other = self._session.direction()
        self._tracker.copy_to(other._tracker)
        other._window, other._step = list(self._window), self._step
        return other


def _scores(tracked: Tracked | None, segmented: list[bool]) -> tuple[Scores, ...]:
    return tuple(
        Scores(
            predicted_iou=float(tracked.predicted_iou[i]),
            object_score=float(tracked.object_score[i]),
            segmented=True,
            selected_mask=int(tracked.selected_mask[i]),
        )
        if tracked is not None and found
        else Scores(None, None, False, None)
        for i, found in enumerate(segmented)
    )
