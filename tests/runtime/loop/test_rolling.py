"""`rolling` against a language model that computes with the same attention pattern and knows no cache, slots or padding."""

import numpy as np
import pytest

from glus_edge.runtime import Segmenter, open_video
from glus_edge.runtime.loop.propagation import Propagation
from tests.runtime import golden

pytestmark = pytest.mark.torch  # the bundle is exported first

WIDTH, HEADS, LAYERS = 64, 4, 3


class Llama:
    """Every row's keys and values in plain lists; a key is rotated for the position its row has at the time it is read."""

    def __init__(self):
        from glus_edge.export.checkpoint.checkpoint import Checkpoint

        checkpoint = Checkpoint.open(golden.GOLDEN / "checkpoint")
        self.weights = {name: checkpoint.tensor(name).numpy().astype(np.float64) for name in checkpoint.names()}
        self.keys = [[] for _ in range(LAYERS)]
        self.values = [[] for _ in range(LAYERS)]

    def read(self, embeddings, first_position):
        """Rows behind all that are held; returns the segment embedding of the last."""
        hidden = embeddings.astype(np.float64)
        positions = first_position + np.arange(len(hidden))
        for layer in range(LAYERS):
            name = f"model.layers.{layer}."
            x = self._norm(hidden, name + "input_layernorm.weight")
            query, key, value = (
                self._heads(x @ self.weights[f"{name}self_attn.{part}_proj.weight"].T) for part in "qkv"
            )
            self.keys[layer] += list(key)
            self.values[layer] += list(value)
            held = len(self.keys[layer])
            keys = self._rotated(np.stack(self.keys[layer]), np.arange(held))
            scores = np.einsum("qhd,khd->hqk", self._rotated(query, positions), keys) / np.sqrt(WIDTH // HEADS)
            scores[:, np.arange(held)[None, :] > positions[:, None]] = -np.inf
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            weights /= weights.sum(-1, keepdims=True)
            mixed = np.einsum("hqk,khd->qhd", weights, np.stack(self.values[layer])).reshape(len(hidden), WIDTH)
            hidden = hidden + mixed @ self.weights[name + "self_attn.o_proj.weight"].T
            x = self._norm(hidden, name + "post_attention_layernorm.weight")
            gate, up, down = (self.weights[f"{name}mlp.{part}_proj.weight"].T for part in ("gate", "up", "down"))
            hidden = hidden + (x @ gate / (1 + np.exp(-(x @ gate))) * (x @ up)) @ down
        last = self._norm(hidden[-1:], "model.norm.weight")[0]
        first, second = "model.text_hidden_fcs.0.0.", "model.text_hidden_fcs.0.2."
        last = np.maximum(self.weights[first + "weight"] @ last + self.weights[first + "bias"], 0)
        return self.weights[second + "weight"] @ last + self.weights[second + "bias"]

    def keep(self, rows):
        """Forgets all rows but these; they now stand at positions 0, 1, 2, ..."""
        for held in (*self.keys, *self.values):
            held[:] = [held[row] for row in rows]

    def _norm(self, x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * self.weights[name]

    @staticmethod
    def _heads(x):
        return x.reshape(len(x), HEADS, -1)

    @staticmethod
    def _rotated(x, positions):
        half = x.shape[-1] // 2
        angles = positions[:, None] / 10000 ** (np.arange(half) / half)
        cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
        return np.concatenate(
            [x[..., :half] * cos - x[..., half:] * sin, x[..., half:] * cos + x[..., :half] * sin], -1
        )


def test_turns_that_move_to_new_positions_attend_as_if_computed_row_by_row(golden_bundle, monkeypatch):
    outputs = golden.record(monkeypatch)
    sentence, model = golden.sentence("exp0"), Llama()
    with Segmenter.open(golden_bundle) as segmenter:
        batch = segmenter._batch([sentence], "rolling")
        video, shared, context = open_video(golden.FRAMES), batch.shared, (2, 5, 9, 12)
        shared.tokens.pin(frozenset(context))
        for index in context:
            shared.tokens.add(video.read(index))
        shared.read_context(context)
        propagation = Propagation(batch)

        def embed(rows):
            table = model.weights["model.embed_tokens.weight"]
            return np.stack([
                table[row] if row >= 0 else shared.tokens.tokens((-row - 1) // 4)[(-row - 1) % 4] for row in rows.tolist()
            ])  # fmt: skip

        def rows(window):
            return batch.prompts.rows([*context, *window])[0]

        prefix = batch.language.prefix
        held = list(rows([0])[:prefix])
        model.read(embed(np.array(held)), 0)
        for step, frame in enumerate(video.frames()):
            propagation.step(frame)
            prompt = rows(list(range(max(0, step - 3), step + 1))).tolist()
            # the rows held that this prompt goes on with: the prefix, and the longest run behind the dropped turn
            dropped = len(rows([0, 1])) - len(rows([0])) if step > 3 else 0
            kept = [*range(prefix), *range(prefix + dropped, len(held))]
            same = 0
            while same < len(kept) and same < len(prompt) - 1 and held[kept[same]] == prompt[same]:
                same += 1
            model.keep(kept[:same])
            expected = model.read(embed(np.array(prompt[same:])), same)
            held = prompt
            assert len(prompt) - same < 45 or step == 0  # one turn, not four
            assert golden.relative_l2(outputs["segment_embedding"][step][0], expected) < 1e-5
