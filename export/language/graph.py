"""language_model.onnx, written node by node while its weights stream from the checkpoint.

The graph prefills T new rows behind a prefix shared by all sentences and each sentence's own past (see
`signatures._language_model`). Inside, rows are token-major [T, B, L]: the new keys and values come out in the cache's
layout without a copy. Norms, rotary positions, softmax and the residual stream are float32 in every precision.
int4 blocks have 128 rows, or the largest power of two dividing the matrix's input channels; the metadata entry
`int4_block_size` says which ('128', or 'name=block' for each matrix where they differ).
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from glus_edge.export.language.graph_writer import GraphWriter
from glus_edge.export.language.layers import CachedAttention, Layers, Rotation
from glus_edge.export.language.matrix_encoding import BlockSource, rounded_blocks
from glus_edge.export.language.weights import LanguageWeights
from glus_edge.runtime.bundle.signatures import ModelDimensions, signatures

VOCABULARY_MULTIPLE = 64
ROPE_THETA, RMS_NORM_EPS = "rope_theta", "rms_norm_eps"  # metadata entries
Progress = Callable[[int, int], None]  # layers written, layers in all


def write_language_model(
    checkpoint: LanguageWeights,
    dimensions: ModelDimensions,
    path: Path,
    compute: str,
    weights: str,
    progress: Progress | None = None,
    matrices: Mapping[str, str] | None = None,
    blocks: BlockSource = rounded_blocks,
) -> None:
    """Write `path` (language_model.onnx) and `path`.data. One tensor of the checkpoint is in memory at a time.

    compute: 'float32' or 'float16', the dtype of activations, caches and scales; weights: 'fp32', 'fp16', 'int8' or
    'int4' for the layers' matrices and lm_head, except those that `matrices` gives another storage, by tensor name.
    text_hidden_fcs keeps the compute dtype. `blocks` gives what int4 matrices hold; with another one than the default, the
    checkpoint's tensors of these need have no values.
    Raises CheckpointError naming a tensor that is missing, not finite, or beyond the precision asked for.
    """
    with GraphWriter(path, compute, weights, matrices, blocks) as graph:
        attention = _attention(graph, checkpoint, dimensions)
        layers = Layers(graph, checkpoint, attention)
        hidden = layers.embeddings()
        for layer in range(dimensions.language_layers):
            hidden = layers.layer(hidden, layer, last=layer + 1 == dimensions.language_layers)
            if progress is not None:
                progress(layer + 1, dimensions.language_layers)
        _heads(graph, checkpoint, layers.norm(hidden, "model.norm.weight", "final_norm"))
        if dimensions.scores_frames:
            _score_head(graph, checkpoint)
        signature = signatures(dimensions, compute)["language_model"]
        graph.save("language_model", signature, _metadata(graph, checkpoint, weights))


def _metadata(graph: GraphWriter, checkpoint: LanguageWeights, weights: str) -> dict[str, str]:
    """What a reader of the graph alone must know to write it again in another precision."""
    metadata = {
        "weights": weights,
        "compute": graph.compute,
        ROPE_THETA: repr(checkpoint.config.rope_theta),
        RMS_NORM_EPS: repr(checkpoint.config.rms_norm_eps),
    }
    sizes = graph.block_sizes
    if len(set(sizes.values())) == 1:
        metadata["int4_block_size"] = str(next(iter(sizes.values())))
    elif sizes:
        metadata["int4_block_size"] = " ".join(f"{name}={size}" for name, size in sizes.items())
    return metadata


def _attention(graph: GraphWriter, checkpoint: LanguageWeights, dimensions: ModelDimensions) -> CachedAttention:
    """What all layers share: the rotation of every query and key, and the mask."""
    width = dimensions.head_width
    # As the reference's constructor: exact float32, never the buffer a checkpoint may hold rounded.
    frequencies = 1.0 / (checkpoint.config.rope_theta ** (torch.arange(0, width, 2).float() / width))
    graph.constant("rotary/frequencies", frequencies.numpy())

    graph.node("Shape", ["prefix_key_0"], "prefix/length", start=0, end=1)
    graph.node("Squeeze", ["prefix/length", graph.int64(0)], "prefix/count")
    zero, one = graph.constant("zero", np.array(0, np.int64)), graph.constant("one", np.array(1, np.int64))
    graph.node("Range", [zero, "prefix/count", one], "prefix/range")
    graph.node("Unsqueeze", ["prefix/range", graph.int64(1)], "prefix/positions")  # [P, 1]
    graph.node("Transpose", ["past_positions"], "past/positions", perm=[1, 0])  # [S, B]
    graph.node("Transpose", ["positions"], "new/positions", perm=[1, 0])  # [T, B]
    parts = {part: _rotation(graph, f"{part}/positions", part) for part in ("prefix", "past", "new")}
    return CachedAttention.shared(graph, dimensions, parts)


def _rotation(graph: GraphWriter, positions: str, name: str) -> Rotation:
    """Cosines and sines [rows, B, 1, Dh/2] float32 of positions [rows, B]."""
    graph.node("Cast", [positions], f"{name}/positions_fp32", to=1)
    graph.node("Unsqueeze", [f"{name}/positions_fp32", graph.int64(2, 3)], f"{name}/positions_4d")
    angles = graph.node("Mul", [f"{name}/positions_4d", "rotary/frequencies"], f"{name}/angles")
    return Rotation(graph.node("Cos", [angles], f"{name}/cos"), graph.node("Sin", [angles], f"{name}/sin"))


def _heads(graph: GraphWriter, checkpoint: LanguageWeights, last: str) -> None:
    """segment_embedding and next_token from the last row [1, B, L], final norm applied."""
    graph.node("Squeeze", [last, graph.int64(0)], "last_row")  # [B, L]
    weight = checkpoint.tensor("lm_head.weight")
    vocabulary = len(weight)
    # TensorRT takes no int4 matrix with an odd number of columns, and GLUS has 32003 tokens: rows of zeros are added,
    # and their logits cut off again, since a zero could be the largest.
    padding = -vocabulary % VOCABULARY_MULTIPLE
    weight = torch.nn.functional.pad(weight, (0, 0, 0, padding))
    graph.linear("last_row", "lm_head.weight", weight, "lm_head")
    cut = ["lm_head", graph.int64(0), graph.int64(vocabulary), graph.int64(1)]
    graph.node("Slice", cut, "lm_head/vocabulary")
    graph.node("Cast", ["lm_head/vocabulary"], "logits", to=1)
    graph.node("ArgMax", ["logits"], "next_token_int64", axis=-1, keepdims=0)
    graph.node("Cast", ["next_token_int64"], "next_token", to=6)

    value = "last_row"
    for step in (0, 2):
        value = _dense(graph, checkpoint, value, "text_hidden_fcs", step)
        if step == 0:
            value = graph.node("Relu", [value], "text_hidden_fcs/relu")
    graph.node("Cast", [value], "segment_embedding", to=1)


def _score_head(graph: GraphWriter, checkpoint: LanguageWeights) -> None:
    """frame_score from the last row [B, L]."""
    value = "last_row"
    for step in (0, 2, 4):
        value = _dense(graph, checkpoint, value, "score_fcs", step)
        if step < 4:
            value = graph.node("Relu", [value], f"score_fcs/{step}/relu")
    graph.node("Squeeze", [value, graph.int64(1)], "score_fcs/score")  # [B]
    graph.node("Cast", ["score_fcs/score"], "frame_score", to=1)


def _dense(graph: GraphWriter, checkpoint: LanguageWeights, value: str, head: str, step: int) -> str:
    """A linear layer with a bias of one of the heads, in the compute dtype."""
    name, label = f"model.{head}.0.{step}", f"{head}/{step}"
    weight = checkpoint.tensor(f"{name}.weight")
    product = graph.linear(value, f"{name}.weight", weight, f"{label}/product", plain=True)
    bias = graph.vector(f"{name}.bias", checkpoint.tensor(f"{name}.bias"), graph.compute)
    return graph.node("Add", [product, bias], label)
