"""What the reference's language model saw and gave on the tiny model: helpers shared by the language tests."""

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from safetensors.numpy import load_file

from glus_edge.export.checkpoint.checkpoint import Checkpoint
from glus_edge.runtime.bundle.signatures import MASKED, ModelDimensions

GOLDEN = Path(__file__).parents[1] / "data" / "golden_A"
DIMENSIONS = ModelDimensions(
    clip_size=56,
    image_tokens=4,
    language_width=64,
    language_layers=3,
    language_heads=4,
    key_value_heads=4,
    vocabulary_size=451,
    max_positions=2048,
    image_size=128,
    segment_width=64,
    memory_width=16,
    stride_4_width=8,
    stride_8_width=16,
)

Floats = NDArray[Any]


class Prefilled(NamedTuple):
    """Outputs of one call of the graph."""

    segment_embedding: Floats  # [B, d]
    next_token: NDArray[np.int32]  # [B]
    caches: list[Floats]  # key and value of every layer, [T, B, Hkv, Dh]


class Cached(NamedTuple):
    """Rows that a call stands behind."""

    caches: list[Floats]  # key and value of every layer
    positions: NDArray[np.int32]  # [B, rows]; unused for a prefix


@cache
def expected() -> dict[str, Floats]:
    return load_file(GOLDEN / "expected.safetensors")


@cache
def step_embeddings(run: str, step: int) -> Floats:
    """The rows the reference fed its language model at one step: [seq_len, L]."""
    golden = expected()
    table = Checkpoint.open(GOLDEN / "checkpoint").tensor("model.embed_tokens.weight").numpy()
    ids = golden[f"run/{run}/input_ids"][step]
    frames = golden[f"run/{run}/frame_index"]
    images = [*golden[f"run/{run}/context_index"], *frames[max(0, step - 3) : step + 1]]
    tokens = golden["frame/image_tokens"]
    return np.concatenate([tokens[images.pop(0)] if token == -200 else table[token][None] for token in ids[ids != -1]])


def session(path: Path, **entries: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    options.log_severity_level = 3
    for key, value in entries.items():
        options.add_session_config_entry(f"session.{key}", value)
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def prefill(
    model: onnxruntime.InferenceSession,
    embeddings: Floats,
    prefix: Cached | None = None,
    past: Cached | None = None,
    padding: tuple[int, ...] | None = None,
) -> Prefilled:
    """Run rows [B, T, L] behind a prefix and a past; `padding` rows at the start of each sentence do not count."""
    inputs = {tensor.name: tensor for tensor in model.get_inputs()}
    batch, new, _ = embeddings.shape
    heads, width = inputs["prefix_key_0"].shape[1:]
    dtype = np.float16 if inputs["inputs_embeds"].type == "tensor(float16)" else np.float32
    layers = sum(name.startswith("prefix_key") for name in inputs)
    prefix = prefix or Cached([np.zeros((0, heads, width))] * 2 * layers, np.zeros((1, 0), np.int32))
    past = past or Cached([np.zeros((0, batch, heads, width))] * 2 * layers, np.zeros((batch, 0), np.int32))
    before, behind = len(prefix.caches[0]), len(past.caches[0])
    padding = padding or (0,) * batch
    mask = np.full((batch, new, before + behind + new), MASKED, np.float32)
    positions = np.zeros((batch, new), np.int32)
    for sentence, skipped in enumerate(padding):
        mask[sentence, :, : before + behind] = 0
        for row in range(skipped, new):
            mask[sentence, row, before + behind + skipped : before + behind + row + 1] = 0
        positions[sentence, skipped:] = before + behind + np.arange(new - skipped)
    feeds = {
        "inputs_embeds": embeddings.astype(dtype),
        "positions": positions,
        "past_positions": past.positions,
        "attention_mask": mask,
    }
    for layer in range(layers):
        for i, kind in enumerate(("key", "value")):
            feeds[f"prefix_{kind}_{layer}"] = prefix.caches[2 * layer + i].astype(dtype)
            feeds[f"past_{kind}_{layer}"] = past.caches[2 * layer + i].astype(dtype)
    names = [f"new_{kind}_{layer}" for layer in range(layers) for kind in ("key", "value")]
    results = model.run(["segment_embedding", "next_token", *names], feeds)
    return Prefilled(results[0], results[1], results[2:])


def relative_l2(got: Floats, wanted: Floats) -> float:
    return float(np.linalg.norm(got.astype(np.float64) - wanted) / np.linalg.norm(wanted.astype(np.float64)))
