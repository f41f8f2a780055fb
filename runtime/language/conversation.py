"""The conversation GLUS was trained on, as rows of the language model's input (the reference's template llava_v1)."""

import unicodedata
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from glus_edge.runtime.bundle.manifest import PromptSettings
from glus_edge.runtime.errors import InputError

# One int64 per row of the language model's input: a token id, or -(1 + frame * tokens + i) for image token i of a frame.
Rows: TypeAlias = NDArray[np.int64]

_IMAGE_PLACEHOLDER = "<image>"


@dataclass(frozen=True)
class PromptText:
    """A prompt's token ids, split where its images stand: pieces[0] image pieces[1] image ... pieces[-1]."""

    pieces: tuple[NDArray[np.int64], ...]

    @property
    def image_count(self) -> int:
        """Images the prompt shows: context frames, then query frames, oldest first."""
        return len(self.pieces) - 1

    def row_count(self, tokens_per_image: int) -> int:
        """Rows of the language model's input, images expanded."""
        return sum(map(len, self.pieces)) + self.image_count * tokens_per_image


class Conversation:
    """Builds the prompt of any step for one sentence. A prompt depends on the number of answered turns alone."""

    def __init__(self, sentence: str, settings: PromptSettings, tokenizer: Tokenizer, context_frames: int) -> None:
        self.sentence = sentence
        self._settings = settings
        self._tokenizer = tokenizer
        self._context_frames = context_frames
        self._texts: dict[int, PromptText] = {}

    def text(self, answered_turns: int) -> PromptText:
        """The prompt whose last, open turn follows `answered_turns` answered ones."""
        if answered_turns not in self._texts:
            self._texts[answered_turns] = self._tokenise(self._prompt(answered_turns))
        return self._texts[answered_turns]

    def score_text(self) -> PromptText:
        """The prompt that asks how well a frame can be segmented: one turn, answered by [SCORE], its last row."""
        return self._tokenise(self._prompt(0) + self._settings.score_token)

    def _prompt(self, answered_turns: int) -> str:
        s = self._settings
        # A model without context frames is asked without a word of them.
        context = s.image * self._context_frames + s.context_request if self._context_frames else ""
        question = s.image + s.question.replace("{expression}", expression_from_sentence(self.sentence))
        answered = f" ASSISTANT: {s.answer}{s.segment_token}.</s>USER: "
        return (
            f"{s.system} USER: {context}" + (question + answered) * answered_turns + f"{question} ASSISTANT: {s.answer}"
        )

    def _tokenise(self, prompt: str) -> PromptText:
        pieces = [
            np.asarray(self._tokenizer.encode(text, add_special_tokens=False).ids, np.int64)
            for text in prompt.split(_IMAGE_PLACEHOLDER)
        ]
        pieces[0] = np.concatenate([[self._settings.begin_token_id], pieces[0]])
        return PromptText(tuple(pieces))


def rows_from_prompt(text: PromptText, frames: list[int], tokens_per_image: int) -> Rows:
    """The prompt as rows, `frames` being the video indices of its images in order."""
    assert len(frames) == text.image_count, f"got {len(frames)} frames for {text.image_count} images"
    parts = [text.pieces[0]]
    for frame, piece in zip(frames, text.pieces[1:], strict=True):
        parts.append(image_rows(frame, tokens_per_image))
        parts.append(piece)
    return np.concatenate(parts)


def image_rows(frame: int, tokens_per_image: int) -> Rows:
    """The rows of one frame's image tokens."""
    return -(1 + frame * tokens_per_image + np.arange(tokens_per_image, dtype=np.int64))


def expression_from_sentence(sentence: str) -> str:
    """The text that stands in the prompt: one trailing full stop removed, lower case as the reference does."""
    return (sentence[:-1] if sentence.endswith(".") else sentence).lower()


def check_sentence(sentence: str, settings: PromptSettings) -> None:
    """InputError for a sentence that says nothing or would break out of its place in the prompt."""
    if not expression_from_sentence(sentence).strip():
        raise InputError(f"sentence: got {sentence!r}, expected words that describe an object")
    for token in settings.reserved:
        if token.lower() in sentence.lower():
            raise InputError(f"sentence: got the reserved token {token} in {sentence[:60]!r}; remove it")
    if any(unicodedata.category(character) == "Cc" and not character.isspace() for character in sentence):
        raise InputError(f"sentence: got a control character in {sentence[:60]!a}, expected words; remove it")
    if any(0xD800 <= ord(character) <= 0xDFFF for character in sentence):
        raise InputError(f"sentence: got {sentence[:60]!a}, expected valid Unicode; check the terminal's encoding")
