"""What a video's sentences share (`SharedState`), and what one batch of them has to itself (`SentenceBatch`)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glus_edge.runtime.backends.engine import Engine
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.device.device import Array
from glus_edge.runtime.errors import InputError
from glus_edge.runtime.language.conversation import Conversation, PromptText, Rows, check_sentence, rows_from_prompt
from glus_edge.runtime.language.image_tokens import ImageTokens
from glus_edge.runtime.language.kv_cache import KeyValueCache, row_granule
from glus_edge.runtime.language.language_model import LanguageModel
from glus_edge.runtime.language.shared_prefix import SharedPrefix
from glus_edge.runtime.pixels.tower_inputs import TowerInputs
from glus_edge.runtime.policies.memory_rule import MemoryRule
from glus_edge.runtime.policies.window import Window, WindowPolicy
from glus_edge.runtime.tracking.mask_tracker import ImageFeatures, MaskTracker, SamEngines
from glus_edge.runtime.utils.stopwatch import Stopwatch
from glus_edge.runtime.video.picture import Picture


@dataclass(frozen=True)
class Engines:
    """The six graphs of a bundle, opened."""

    clip_encoder: Engine
    language_model: Engine
    sam: SamEngines
    pixels: TowerInputs  # what makes the inputs of both image towers


class SharedState:
    """What is computed once for all sentences: image tokens, image features, the context's keys and values."""

    def __init__(self, bundle: Bundle, engines: Engines) -> None:
        manifest = bundle.manifest
        self.bundle, self.engines = bundle, engines
        self.tokenizer, self.embedding = bundle.tokenizer(), bundle.token_embedding()
        self.stopwatch = Stopwatch()
        self.tokens_prefilled = 0  # rows a sentence; the shared prefix counts once
        # Live video keeps up to twice the context frames, of which it will choose, beside those chosen before; a run
        # from a key frame keeps that one.
        places = 3 * manifest.window.context_frames + manifest.window.query_frames + 1
        self.tokens = ImageTokens(engines.clip_encoder, manifest.model, engines.pixels, places, self.stopwatch)
        self.features = ImageFeatures(engines.sam.image_encoder, manifest.model, engines.pixels, self.stopwatch)
        self.context: tuple[int, ...] = (0,) * manifest.window.context_frames
        # Up to the image of the first query frame a prompt does not depend on the sentence.
        text = Conversation("", manifest.prompt, self.tokenizer, manifest.window.context_frames).text(0)
        self._text = PromptText(text.pieces[:-1])
        self.prefix = SharedPrefix(
            engines.language_model,
            manifest.model,
            self.embedding,
            self.tokens,
            self._text.row_count(manifest.model.image_tokens),
        )

    def picture(self, source: object) -> Picture:
        """A frame's picture from a numpy array or from device memory. InputError: it cannot be used here."""
        return self.engines.pixels.picture(source)

    def let_go(self) -> None:
        """Returns when no frame in device memory is read any more."""
        self.engines.pixels.let_go()

    def read_context(self, frames: tuple[int, ...]) -> None:
        """Shows the language model these frames, whose tokens are held, as context for all that follows."""
        self.context = frames
        with self.stopwatch.stage("language_model"):
            self.prefix.read(rows_from_prompt(self._text, list(frames), self.bundle.manifest.model.image_tokens))
        self.tokens_prefilled += self.prefix.rows


class SentenceBatch:
    """A batch of sentences over one video. `Propagation` runs over it."""

    def __init__(
        self, shared: SharedState, sentences: tuple[str, ...], policy: WindowPolicy, capacity: int = 0
    ) -> None:
        """`capacity`: cache slots to have at least."""
        manifest = shared.bundle.manifest
        self.shared, self.policy, self.texts = shared, policy, sentences
        self.sentences = len(sentences)
        self.query_frames = manifest.window.query_frames
        self.tokens, self.features, self.stopwatch = shared.tokens, shared.features, shared.stopwatch
        self._model, self._manifest, self._engines = manifest.model, manifest, shared.engines
        for sentence in sentences:
            check_sentence(sentence, manifest.prompt)
        frames = manifest.window.context_frames
        self._conversations = [Conversation(s, manifest.prompt, shared.tokenizer, frames) for s in sentences]
        self._check_lengths()
        self._capacity = max(capacity, self._cache_capacity(shared.prefix.rows))
        self.language = LanguageModel(
            shared.engines.language_model,
            self._model,
            shared.embedding,
            self.tokens,
            manifest.prompt.segment_token_id,
            shared.prefix,
            len(sentences),
            self._capacity,
        )

    def of(self, sentences: tuple[int, ...]) -> "SentenceBatch":
        """A session for these of its sentences, with the rows cached for them."""
        # One longest prompt more: rows that were placed for a larger batch may lie less densely.
        room = max(map(len, self.prompts(list(range(self.query_frames))))) - self.shared.prefix.rows
        texts = tuple(self.texts[sentence] for sentence in sentences)
        other = SentenceBatch(self.shared, texts, self.policy, self._capacity + room)
        self.language.copy_to(other.language, sentences)
        return other

    def read_context(self, frames: tuple[int, ...]) -> None:
        """See SharedState."""
        self.shared.read_context(frames)

    def prompts(self, window: list[int]) -> list[Rows]:
        """Each sentence's prompt for a window of frames, the last of which is the one asked about."""
        frames = [*self.shared.context, *window]
        return [
            rows_from_prompt(conversation.text(len(window) - 1), frames, self._model.image_tokens)
            for conversation in self._conversations
        ]

    def turn_lengths(self, turns: int) -> list[int]:
        """Rows of each sentence's first `turns` answered turns behind the prefix; all answered turns are equally long."""
        tokens = self._model.image_tokens
        return [each.text(turns).row_count(tokens) - each.text(0).row_count(tokens) for each in self._conversations]

    def ask(self, frames: list[int], dropped: int, embedding: Array, keep: bool) -> NDArray[np.bool_]:
        """Asks about the last of `frames`, the query window; `dropped` turns are taken from the front of the cached one.

        Writes the segment embeddings into `embedding`: all of them, or, with `keep`, only those of sentences that got a
        [SEG]. Returns which did, [sentences].
        """
        with self.stopwatch.stage("language_model"):
            if dropped:
                self.language.drop_leading(self.turn_lengths(dropped))
            answer = self.language.ask(self.prompts(frames))
        self.shared.tokens_prefilled += answer.new_tokens
        if not keep or answer.segmented.all():
            self.copy_embedding(embedding, answer.segment_embedding)
        else:
            for sentence in np.flatnonzero(answer.segmented).tolist():
                self.copy_embedding(embedding[sentence], answer.segment_embedding[sentence])
        return answer.segmented

    def score(self, frame: int) -> NDArray[np.float32]:
        """How well each sentence's object can be segmented in a frame whose tokens are held, [sentences], about an IoU.

        Only where the model has a [SCORE] token.
        """
        frames = [*self.shared.context, frame]
        tokens = self._model.image_tokens
        with self.stopwatch.stage("language_model"):
            return self.language.score([rows_from_prompt(c.score_text(), frames, tokens) for c in self._conversations])

    def new_embedding(self) -> Array:
        """A buffer for segment embeddings, [sentences, segment_width] float32 on the device.

        Zeros: what has no embedding yet is decoded with the others, and must not come out differently every time.
        """
        return self._engines.language_model.device.zeros((self.sentences, self._model.segment_width), "float32")

    def copy_embedding(self, target: Array, source: Array) -> None:
        """Copies segment embeddings on the device."""
        self._engines.language_model.device.copy(target, source)

    def tracker(self, rule: MemoryRule) -> MaskTracker:
        """An empty memory."""
        return MaskTracker(
            self._engines.sam,
            self._model,
            self._manifest.memory,
            rule,
            self.features,
            self.sentences,
            self.stopwatch,
        )

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
        dtype = self._engines.language_model.signature.inputs[0].dtype
        book = KeyValueCache(self.sentences, prefix, 1 << 16, row_granule(self._model, dtype, self.sentences))
        capacity, window = 0, Window(0, keep=False)
        for step in range(4 * self._manifest.window.query_frames):
            previous, window = window, self.policy.window(step)
            if window.keep:
                book.drop_leading(self.turn_lengths(previous.turns + 1 - window.turns))
            prefill = book.plan([p[prefix:] for p in self.prompts(list(range(step + 1))[-window.turns :])])
            book.record(prefill)
            capacity = max(capacity, prefill.start + prefill.new_tokens)
        return capacity
