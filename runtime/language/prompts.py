"""The prompts of several sentences about the same frames."""

from collections.abc import Sequence

from tokenizers import Tokenizer

from glus_edge.runtime.bundle.manifest import Manifest
from glus_edge.runtime.errors import InputError
from glus_edge.runtime.language.conversation import Conversation, Rows, check_sentence, rows_from_prompt


class Prompts:
    """One conversation a sentence. Frames are given as video indices: the context frames, then the query window."""

    def __init__(self, sentences: Sequence[str], manifest: Manifest, tokenizer: Tokenizer) -> None:
        """InputError: a sentence says nothing, holds a reserved token, or does not fit the language model."""
        for sentence in sentences:
            check_sentence(sentence, manifest.prompt)
        self._window, self._model = manifest.window, manifest.model
        self._conversations = [
            Conversation(sentence, manifest.prompt, tokenizer, manifest.window.context_frames) for sentence in sentences
        ]
        self._check_lengths()

    def rows(self, frames: Sequence[int]) -> list[Rows]:
        """Each sentence's prompt; the last frame is the one asked about."""
        answered = len(frames) - self._window.context_frames - 1
        return [
            rows_from_prompt(conversation.text(answered), list(frames), self._model.image_tokens)
            for conversation in self._conversations
        ]

    def score_rows(self, frames: Sequence[int]) -> list[Rows]:
        """Each sentence's prompt that ends with [SCORE]; the only query frame is the one rated."""
        return [
            rows_from_prompt(conversation.score_text(), list(frames), self._model.image_tokens)
            for conversation in self._conversations
        ]

    def turn_lengths(self, turns: int) -> list[int]:
        """Rows of each sentence's first `turns` answered turns behind the prefix; all answered turns are equally long."""
        tokens = self._model.image_tokens
        return [each.text(turns).row_count(tokens) - each.text(0).row_count(tokens) for each in self._conversations]

    def longest(self) -> int:
        """Rows of the longest prompt with a full query window."""
        return max(self._longest(conversation) for conversation in self._conversations)

    def _longest(self, conversation: Conversation) -> int:
        return conversation.text(self._window.query_frames - 1).row_count(self._model.image_tokens)

    def _check_lengths(self) -> None:
        """InputError for a sentence whose longest prompt does not fit the language model."""
        limit, turns = self._model.max_positions, self._window.query_frames
        for number, conversation in enumerate(self._conversations):
            length = self._longest(conversation)
            if length > limit:
                raise InputError(
                    f"sentence {number}: its prompt has {length} tokens, expected at most {limit}; "
                    f"shorten it by {length - limit} tokens or more ({turns} turns repeat it)"
                )
