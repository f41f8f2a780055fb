"""The language model's graph against torch: questions asked as the loop asks them, cached and padded, in ONNX Runtime;
answered by torch over each whole prompt, with nothing cached.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from glus_edge.export.language_reference import LanguageReference
from glus_edge.export.parity import cpu_session, parity_entry
from glus_edge.runtime.conversation import Conversation, Rows, rows_from_prompt
from glus_edge.runtime.kv_cache import KeyValueCache, Prefill
from glus_edge.runtime.manifest import ParityEntry, PromptSettings, WindowSettings
from glus_edge.runtime.signatures import GraphSignature, ModelDimensions

# Of different length, so that one of them is padded.
SENTENCES = ("the red ball", "the person on the left who turns around and walks away")
STEPS = 2  # questions: one behind the context alone, one behind a past

Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Answers:
    """What the language model says of one step, for all sentences."""

    segment_embedding: NDArray[np.float32]  # [sentences, segment_width]
    next_token: NDArray[np.int32]  # [sentences]
    frame_score: NDArray[np.float32] | None  # [sentences]; None for a model without [SCORE]


class Questions:
    """The prompts of a few steps, and their rows as embeddings."""

    def __init__(
        self,
        dimensions: ModelDimensions,
        prompt: PromptSettings,
        tokenizer: Tokenizer,
        embedding: NDArray[Any],
        image_tokens: NDArray[np.float32],
        context_frames: int = WindowSettings.context_frames,
    ) -> None:
        """embedding: [vocabulary_size, language_width]; image_tokens: [frames, image_tokens, language_width]."""
        self.dimensions = dimensions
        self._embedding = embedding
        self._images = image_tokens.reshape(-1, dimensions.language_width)
        count = context_frames
        context = [index % len(image_tokens) for index in range(count)]
        conversations = [Conversation(sentence, prompt, tokenizer, count) for sentence in SENTENCES]
        self.prompts: list[list[Rows]] = [  # [step][sentence]
            [
                rows_from_prompt(conversation.text(step), [*context, *range(step + 1)], dimensions.image_tokens)
                for conversation in conversations
            ]
            for step in range(STEPS)
        ]
        first = self.prompts[0][0]
        # What the loop computes once for all sentences: everything before the first query image.
        self.prefix = first[: int(np.flatnonzero(first < 0)[-1]) + 1 - dimensions.image_tokens]

    def embedded(self, rows: Rows) -> NDArray[np.float32]:
        """[..., rows] to [..., rows, language_width]."""
        image = self._images[np.where(rows < 0, -1 - rows, 0)]
        return np.where(rows[..., None] < 0, image, self._embedding[np.maximum(rows, 0)]).astype(np.float32)


def reference_answers(reference: LanguageReference, questions: Questions, steps: int = STEPS) -> list[Answers]:
    """One per step, from whole prompts; all prompts are one batch, so that every matrix is read once."""
    prompts = [prompt for step in questions.prompts[:steps] for prompt in step]
    lengths = [len(prompt) for prompt in prompts]
    rows = np.stack([np.pad(prompt, (0, max(lengths) - len(prompt))) for prompt in prompts])
    outputs = reference.forward(torch.from_numpy(questions.embedded(rows)), lengths)
    tokens, score = outputs.next_token.numpy().astype(np.int32), outputs.frame_score
    return [
        Answers(outputs.segment_embedding[step].numpy(), tokens[step], None if score is None else score[step].numpy())
        for step in (slice(at, at + len(SENTENCES)) for at in range(0, len(prompts), len(SENTENCES)))
    ]


def measure_language_parity(
    path: Path, signature: GraphSignature, compute: str, questions: Questions, expected: Sequence[Answers]
) -> tuple[ParityEntry, ...]:
    """One entry for each of the heads' outputs. Raises ParityError where one misses."""
    graph = _CachedGraph(path, signature, questions)
    got = [graph.ask(prompts) for prompts in questions.prompts]
    return tuple(
        parity_entry(
            "language_model",
            name,
            np.concatenate([getattr(answers, name).ravel() for answers in got]),
            np.concatenate([getattr(answers, name).ravel() for answers in expected]),
            compute,
        )
        for name in ("segment_embedding", "next_token", "frame_score")
        if getattr(expected[0], name) is not None
    )


class _CachedGraph:
    """The graph in ONNX Runtime, with the keys and values of what it has read."""

    def __init__(self, path: Path, signature: GraphSignature, questions: Questions) -> None:
        self._session = cpu_session(path)
        self._signature, self._questions = signature, questions
        names = [tensor.name.removeprefix("new_") for tensor in signature.outputs if tensor.name.startswith("new_")]
        d = questions.dimensions
        nothing = np.zeros((0, 1, d.key_value_heads, d.head_width), np.float32)
        self._prefix: Tensors = dict.fromkeys(names, nothing[:, 0])
        self._past: Tensors = dict.fromkeys(names, nothing)
        prefix = questions.prefix
        read = self._run(KeyValueCache(1, 0, len(prefix)).plan([prefix]))
        self._prefix = {name: read[f"new_{name}"][:, 0] for name in names}
        sentences = len(SENTENCES)
        self._past = {name: np.repeat(nothing, sentences, axis=1) for name in names}
        capacity = sum(len(prompt) for prompts in questions.prompts for prompt in prompts)
        self._book = KeyValueCache(sentences, len(prefix), capacity)

    def ask(self, prompts: Sequence[Rows]) -> Answers:
        """Prefills what is new of each sentence's prompt."""
        prefill = self._book.plan([prompt[self._book.prefix :] for prompt in prompts])
        self._past = {name: rows[: prefill.past] for name, rows in self._past.items()}
        outputs = self._run(prefill)
        self._past = {name: np.concatenate([rows, outputs[f"new_{name}"]]) for name, rows in self._past.items()}
        self._book.record(prefill)
        return Answers(outputs["segment_embedding"], outputs["next_token"], outputs.get("frame_score"))

    def _run(self, prefill: Prefill) -> Tensors:
        inputs: Tensors = {
            "inputs_embeds": self._questions.embedded(prefill.rows),
            "positions": prefill.positions,
            "past_positions": prefill.past_positions,
            "attention_mask": prefill.attention_mask,
            **{f"prefix_{name}": rows for name, rows in self._prefix.items()},
            **{f"past_{name}": rows for name, rows in self._past.items()},
        }
        feeds = {tensor.name: inputs[tensor.name].astype(tensor.dtype) for tensor in self._signature.inputs}
        names = [tensor.name for tensor in self._signature.outputs]
        return dict(zip(names, self._session.run(names, feeds), strict=True))
