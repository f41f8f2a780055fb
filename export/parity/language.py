"""The language model's graph against torch: questions asked as the loop asks them, cached and padded, in ONNX Runtime;
answered by torch over each whole prompt, with nothing cached. The graph runs layer by layer, so that a model of any size
is compared in the memory of one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from glus_edge.export.language.layers import layer_output
from glus_edge.export.parity.comparison import cpu_session, parity_entry
from glus_edge.export.parity.graph_slices import write_slices
from glus_edge.export.parity.language_reference import LanguageReference
from glus_edge.export.parity.llama import LlamaReference
from glus_edge.runtime.bundle.manifest import ParityEntry, PromptSettings, WindowSettings
from glus_edge.runtime.bundle.signatures import GraphSignature, ModelDimensions
from glus_edge.runtime.bundle.token_embedding import TokenEmbedding
from glus_edge.runtime.language.conversation import Conversation, Rows, rows_from_prompt
from glus_edge.runtime.language.kv_cache import KeyValueCache, Prefill

# Of different length, so that one of them is padded.
SENTENCES = ("the red ball", "the person on the left who turns around and walks away")
STEPS = 2  # questions: one behind the context alone, one behind a past

Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class LanguageAnswers:
    """What the language model says of one step, for all sentences."""

    segment_embedding: NDArray[np.float32]  # [sentences, segment_width]
    next_token: NDArray[np.int32]  # [sentences]
    frame_score: NDArray[np.float32] | None  # [sentences]; None for a model without [SCORE]


class LanguageQuestions:
    """The prompts of a few steps, and their rows as embeddings."""

    def __init__(
        self,
        dimensions: ModelDimensions,
        prompt: PromptSettings,
        tokenizer: Tokenizer,
        embedding: TokenEmbedding,
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


def reference_answers(
    reference: LanguageReference | LlamaReference, questions: LanguageQuestions, steps: int = STEPS
) -> list[LanguageAnswers]:
    """One per step, from whole prompts; all prompts are one batch, so that every matrix is read once."""
    prompts = [prompt for step in questions.prompts[:steps] for prompt in step]
    lengths = [len(prompt) for prompt in prompts]
    rows = np.stack([np.pad(prompt, (0, max(lengths) - len(prompt))) for prompt in prompts])
    outputs = reference.forward(torch.from_numpy(questions.embedded(rows)), lengths)
    tokens, score = outputs.next_token.numpy().astype(np.int32), outputs.frame_score
    return [
        LanguageAnswers(
            outputs.segment_embedding[step].numpy(), tokens[step], None if score is None else score[step].numpy()
        )
        for step in (slice(at, at + len(SENTENCES)) for at in range(0, len(prompts), len(SENTENCES)))
    ]


def measure_language_parity(
    path: Path,
    signature: GraphSignature,
    compute: str,
    questions: LanguageQuestions,
    expected: Sequence[LanguageAnswers],
) -> tuple[ParityEntry, ...]:
    """One entry for each of the heads' outputs. Raises ParityError where one misses."""
    got = _cached_answers(path, signature, questions)
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


def _prefills(questions: LanguageQuestions) -> Iterator[Prefill]:
    """What the loop would have the graph read: the prefix, then what is new of each question's prompts."""
    prefix = questions.prefix
    yield KeyValueCache(1, 0, len(prefix)).plan([prefix])
    capacity = sum(len(prompt) for prompts in questions.prompts for prompt in prompts)
    book = KeyValueCache(len(SENTENCES), len(prefix), capacity)
    for prompts in questions.prompts:
        prefill = book.plan([prompt[len(prefix) :] for prompt in prompts])
        book.record(prefill)
        yield prefill


def _cached_answers(path: Path, signature: GraphSignature, questions: LanguageQuestions) -> list[LanguageAnswers]:
    """The graph's, with the keys and values of what it has read: each layer reads everything before the next one does."""
    d, dtypes = questions.dimensions, {tensor.name: tensor.dtype for tensor in signature.inputs}
    prefills = list(_prefills(questions))
    inputs: list[Tensors] = [
        {
            "inputs_embeds": questions.embedded(prefill.rows),
            "positions": prefill.positions,
            "past_positions": prefill.past_positions,
            "attention_mask": prefill.attention_mask(),
        }
        for prefill in prefills
    ]
    outputs: list[Tensors] = [{} for _ in prefills]  # of the layer before
    for layer, piece in enumerate(write_slices(path, [layer_output(layer) for layer in range(d.language_layers - 1)])):
        session = cpu_session(piece)
        needed, given = ([tensor.name for tensor in found] for found in (session.get_inputs(), session.get_outputs()))
        nothing = np.zeros((0, 1, d.key_value_heads, d.head_width), np.float32)
        prefix, past = dict.fromkeys(("key", "value"), nothing[:, 0]), dict.fromkeys(("key", "value"), nothing)
        for call, prefill in enumerate(prefills):
            past = {kind: rows[: prefill.past] for kind, rows in past.items()}
            # Every layer takes the prefix's length from the first one's keys.
            inputs[call].setdefault("prefix_key_0", prefix["key"])
            values = inputs[call] | outputs[call]
            values |= {f"prefix_{kind}_{layer}": rows for kind, rows in prefix.items()}
            values |= {f"past_{kind}_{layer}": rows for kind, rows in past.items()}
            feeds = {name: values[name].astype(dtypes.get(name, "float32")) for name in needed}
            outputs[call] = dict(zip(given, session.run(given, feeds), strict=True))
            new = {kind: outputs[call][f"new_{kind}_{layer}"] for kind in past}
            if call == 0:
                prefix = {kind: rows[:, 0] for kind, rows in new.items()}
                past = dict.fromkeys(past, np.repeat(nothing, len(SENTENCES), axis=1))
            else:
                past = {kind: np.concatenate([past[kind], rows]) for kind, rows in new.items()}
    return [
        LanguageAnswers(values["segment_embedding"], values["next_token"], values.get("frame_score"))
        for values in outputs[1:]
    ]
