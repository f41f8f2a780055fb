"""What the language model's graph is compared on: the context, then two questions of two sentences, as the loop asks."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from glus_edge.export.parity import ParityCase, Tensors
from glus_edge.runtime.conversation import Conversation, Rows, rows_from_prompt
from glus_edge.runtime.kv_cache import KeyValueCache, Prefill
from glus_edge.runtime.manifest import PromptSettings, WindowSettings
from glus_edge.runtime.signatures import ModelDimensions

# Of different length, so that one of them is padded.
SENTENCES = ("the red ball", "the person on the left who turns around and walks away")
STEPS = 2


class Reference(Protocol):
    """The language model in torch."""

    def run(self, inputs: Tensors) -> Tensors:
        """Outputs of the graph from its inputs, by the names of its signature, float32."""


class LanguageCases(NamedTuple):
    """The cases and what the vision graphs go on with."""

    cases: list[ParityCase]
    segment_embeddings: NDArray[np.float32]  # [sentences, segment_width]


def language_cases(
    reference: Reference,
    dimensions: ModelDimensions,
    prompt: PromptSettings,
    tokenizer: Tokenizer,
    embedding: NDArray[Any],
    image_tokens: Sequence[NDArray[np.float32]],
) -> LanguageCases:
    """Runs the reference over a conversation on frames whose image tokens are given, [image_tokens, language_width] each.

    embedding: [vocabulary_size, language_width].
    """
    context_frames = WindowSettings().context_frames
    context = [index % len(image_tokens) for index in range(context_frames)]
    conversations = [Conversation(sentence, prompt, tokenizer, context_frames) for sentence in SENTENCES]
    run = _Run(reference, dimensions, embedding, np.concatenate(list(image_tokens)))
    for step in range(STEPS):
        images = [*context, *range(step + 1)]
        answer = run.ask([rows_from_prompt(c.text(step), images, dimensions.image_tokens) for c in conversations])
    return LanguageCases(run.cases, answer)


class _Run:
    """Keeps what the reference has cached, and a case of every call."""

    def __init__(
        self, reference: Reference, dimensions: ModelDimensions, embedding: NDArray[Any], images: NDArray[np.float32]
    ) -> None:
        self.cases: list[ParityCase] = []
        self._reference, self._dimensions = reference, dimensions
        self._embedding, self._images = embedding, images
        self._prefix: Tensors = {}
        self._past: Tensors = {}
        self._book: KeyValueCache | None = None

    def ask(self, prompts: list[Rows]) -> NDArray[np.float32]:
        """Prefills what is new of the prompts; [sentences, segment_width]."""
        if self._book is None:
            # As the loop does: all up to the first query image is the same for every sentence, and cached once.
            first_query_row = int(np.flatnonzero(prompts[0] < 0)[-1]) + 1 - self._dimensions.image_tokens
            prefix = prompts[0][:first_query_row]
            self._prefix = self._new(self._call(KeyValueCache(1, 0, len(prefix)).plan([prefix]), {}, {}), squeezed=True)
            self._book = KeyValueCache(len(prompts), len(prefix), sum(map(len, prompts)))
        prefill = self._book.plan([prompt[self._book.prefix :] for prompt in prompts])
        kept = {name: rows[: prefill.past] for name, rows in self._past.items()}
        outputs = self._call(prefill, self._prefix, kept)
        new = self._new(outputs, squeezed=False)
        self._past = {name: np.concatenate([kept[name], rows]) if kept else rows for name, rows in new.items()}
        self._book.record(prefill)
        return np.asarray(outputs["segment_embedding"], np.float32)

    def _call(self, prefill: Prefill, prefix: Tensors, past: Tensors) -> Tensors:
        d = self._dimensions
        rows = prefill.rows
        image = self._images[np.where(rows < 0, -1 - rows, 0)]
        inputs: dict[str, NDArray[Any]] = {
            "inputs_embeds": np.where(rows[..., None] < 0, image, self._embedding[np.maximum(rows, 0)]),
            "positions": prefill.positions,
            "past_positions": prefill.past_positions,
            "attention_mask": prefill.attention_mask,
        }
        inputs["inputs_embeds"] = inputs["inputs_embeds"].astype(np.float32)
        head = (d.key_value_heads, d.head_width)
        for name in self._names():
            inputs[f"prefix_{name}"] = prefix.get(name, np.zeros((0, *head), np.float32))
            inputs[f"past_{name}"] = past.get(name, np.zeros((0, len(rows), *head), np.float32))
        outputs = self._reference.run(inputs)
        self.cases.append(ParityCase(inputs, outputs))
        return outputs

    def _new(self, outputs: Tensors, squeezed: bool) -> Tensors:
        rows = {name: outputs[f"new_{name}"] for name in self._names()}
        return {name: value[:, 0] for name, value in rows.items()} if squeezed else rows

    def _names(self) -> list[str]:
        return [f"{kind}_{layer}" for layer in range(self._dimensions.language_layers) for kind in ("key", "value")]
