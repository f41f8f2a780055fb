"""A batch of sentences that are asked about together."""

import numpy as np
from numpy.typing import NDArray

from glus_edge.runtime.language.cache_capacity import cache_capacity
from glus_edge.runtime.language.language_model import Answer, LanguageModel
from glus_edge.runtime.language.prompts import Prompts
from glus_edge.runtime.loop.shared_state import SharedState
from glus_edge.runtime.policies.window import WindowPolicy


class SentenceBatch:
    """Sentences over one video, with their conversations and their cached keys and values. `Propagation` runs over it."""

    def __init__(
        self, shared: SharedState, sentences: tuple[str, ...], window_policy: WindowPolicy, capacity: int = 0
    ) -> None:
        """`capacity`: cache slots to have at least. InputError: see Prompts."""
        manifest, engine = shared.bundle.manifest, shared.engines.language_model
        self.shared, self.texts, self.window_policy = shared, sentences, window_policy
        self.sentences = len(sentences)
        self.prompts = Prompts(sentences, manifest, shared.tokenizer)
        granule = shared.prefix.call.granule(self.sentences)
        needed = cache_capacity(
            self.prompts, self.sentences, shared.prefix.rows, granule, manifest.window, window_policy
        )
        self._capacity = max(capacity, needed)
        self.language = LanguageModel(
            engine,
            manifest.model,
            shared.embedding,
            shared.tokens,
            manifest.prompt.segment_token_id,
            shared.prefix,
            self.sentences,
            self._capacity,
        )

    def select(self, sentences: tuple[int, ...]) -> "SentenceBatch":
        """A batch of these sentences alone, with the rows cached for them."""
        # One longest prompt more: rows that were placed for a larger batch may lie less densely.
        room = self.prompts.longest() - self.shared.prefix.rows
        texts = tuple(self.texts[sentence] for sentence in sentences)
        other = SentenceBatch(self.shared, texts, self.window_policy, self._capacity + room)
        other.language.copy_from(self.language, sentences)
        return other

    def ask(self, window: tuple[int, ...], dropped: int) -> Answer:
        """Asks about the last frame of the query window; `dropped` turns leave the front of the one that is cached."""
        with self.shared.stopwatch.stage("language_model"):
            if dropped:
                self.language.drop_leading(self.prompts.turn_lengths(dropped))
            answer = self.language.ask(self.prompts.rows([*self.shared.context, *window]))
        self.shared.tokens_prefilled += answer.new_tokens
        return answer

    def score(self, frame: int) -> NDArray[np.float32]:
        """How well each sentence's object can be segmented in a frame whose tokens are held, [sentences], about an IoU.

        Only where the model has a [SCORE] token.
        """
        with self.shared.stopwatch.stage("language_model"):
            return self.language.score(self.prompts.score_rows([*self.shared.context, frame]))
