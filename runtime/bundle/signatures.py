"""The tensors of the six graphs, written once: names, dtypes, shapes, and how far each varying dimension goes.

Read by export (to trace, write and check), the engines (to bind), calibration and benchmarks.
"""

from dataclasses import dataclass

GRAPHS = ("clip_encoder", "language_model", "image_encoder", "memory_attention", "mask_decoder", "memory_encoder")

COMPUTE = "compute"  # stands for the graph's own floating type (float32 or float16) until `resolved`
MASKED = -1e4  # added to a score that must not count; finite in float16


@dataclass(frozen=True)
class ModelDimensions:
    """Sizes of one GLUS model; everything a signature needs. The real model's value is given after each field."""

    clip_size: int  # side of the CLIP input, pixels: 224
    image_tokens: int  # language tokens per image: 64
    language_width: int  # hidden size of the language model: 4096
    language_layers: int  # 32
    language_heads: int  # 32
    key_value_heads: int  # 32
    vocabulary_size: int  # added tokens included: about 32003
    max_positions: int  # the longest prompt the language model was made for: 4096 (2048 in some checkpoints)
    image_size: int  # side of the SAM 2 input, pixels: 1024
    segment_width: int  # d_model of SAM 2 and width of the segment embedding: 256
    memory_width: int  # channels of one memory slot: 64
    stride_4_width: int  # channels of the stride-4 map given to the mask decoder: 32
    stride_8_width: int  # channels of the stride-8 map: 64
    scores_frames: bool = False  # whether the language model has a [SCORE] token, which rates key frames: no

    @property
    def head_width(self) -> int:
        """Channels of one attention head of the language model."""
        return self.language_width // self.language_heads

    @property
    def grid(self) -> int:
        """Side of the stride-16 feature map, cells."""
        return self.image_size // 16

    @property
    def mask_side(self) -> int:
        """Side of the mask decoder's logits (stride 4), pixels."""
        return self.image_size // 4


@dataclass(frozen=True)
class TensorSignature:
    """One input or output of a graph."""

    name: str
    dtype: str  # numpy name, or COMPUTE
    shape: tuple[int | str, ...]  # a string names an Axis


@dataclass(frozen=True)
class Axis:
    """How far a varying dimension goes; the optimisation profile of an engine."""

    minimum: int
    optimum: int
    maximum: int
    sizes: tuple[int, ...] = ()  # ascending: the only sizes it has; (): all in between


@dataclass(frozen=True)
class GraphSignature:
    """All a caller must know of one graph."""

    inputs: tuple[TensorSignature, ...]
    outputs: tuple[TensorSignature, ...]
    axes: dict[str, Axis]


@dataclass(frozen=True)
class Limits:
    """The largest session an engine is built for."""

    sentences: int = 8  # asked in one batch
    images: int = 4  # CLIP frames in one call: the context frames
    slots: int = 7  # memory slots attended, as in GLUS
    context_tokens: int = 512  # rows of the shared prefix
    past_tokens: int = 1024  # rows of a sentence's own past
    new_tokens: int = 640  # rows prefilled in one call
    frame_side: int = 1920  # pixels of a frame that is preprocessed on the device, either way


def signatures(
    dimensions: ModelDimensions, compute: str = "float32", limits: Limits | None = None
) -> dict[str, GraphSignature]:
    """The six signatures of a model of these dimensions; `compute` ('float32' or 'float16') replaces COMPUTE."""
    limits = limits or Limits()
    d = dimensions
    sentences = Axis(1, 1, limits.sentences)
    features = ("sentences", d.segment_width, d.grid, d.grid)
    slot = ("sentences", d.memory_width, d.grid, d.grid)
    logits = ("sentences", 1, d.mask_side, d.mask_side)
    stride_4 = TensorSignature(
        "features_stride_4", COMPUTE, (1, d.stride_4_width, d.image_size // 4, d.image_size // 4)
    )
    stride_8 = TensorSignature(
        "features_stride_8", COMPUTE, (1, d.stride_8_width, d.image_size // 8, d.image_size // 8)
    )
    stride_16 = TensorSignature("features_stride_16", COMPUTE, (1, d.segment_width, d.grid, d.grid))
    conditioned = TensorSignature("conditioned_features", COMPUTE, features)
    graphs = {
        "clip_encoder": GraphSignature(
            inputs=(TensorSignature("clip_pixels", "float32", ("images", 3, d.clip_size, d.clip_size)),),
            outputs=(TensorSignature("image_tokens", COMPUTE, ("images", d.image_tokens, d.language_width)),),
            axes={"images": Axis(1, 1, limits.images)},
        ),
        "language_model": _language_model(d, limits),
        "image_encoder": GraphSignature(
            inputs=(TensorSignature("sam_pixels", "float32", (1, 3, d.image_size, d.image_size)),),
            # features_without_memory = features_stride_16 + no_mem_embed: what stands for the conditioned
            # features while the memory bank is empty, given by the graph so that no engine-side addition is needed.
            outputs=(
                stride_4,
                stride_8,
                stride_16,
                TensorSignature("features_without_memory", COMPUTE, stride_16.shape),
            ),
            axes={},
        ),
        "memory_attention": GraphSignature(
            inputs=(stride_16, TensorSignature("memory", COMPUTE, ("slots", *slot))),
            outputs=(conditioned,),
            axes={"sentences": sentences, "slots": Axis(1, limits.slots, limits.slots)},
        ),
        "mask_decoder": GraphSignature(
            inputs=(
                conditioned,
                stride_8,
                stride_4,
                TensorSignature("segment_embedding", "float32", ("sentences", d.segment_width)),
            ),
            outputs=(
                TensorSignature("mask_logits", "float32", logits),
                TensorSignature("predicted_iou", "float32", ("sentences",)),
                TensorSignature("selected_mask", "int32", ("sentences",)),
                TensorSignature("all_mask_logits", "float32", ("sentences", 4, d.mask_side, d.mask_side)),
                TensorSignature("all_predicted_iou", "float32", ("sentences", 4)),
                TensorSignature("object_score", "float32", ("sentences",)),
            ),
            axes={"sentences": sentences},
        ),
        "memory_encoder": GraphSignature(
            inputs=(conditioned, TensorSignature("mask_logits", "float32", logits)),
            outputs=(TensorSignature("memory_slot", COMPUTE, slot),),
            axes={"sentences": sentences},
        ),
    }
    return {name: _resolved(graph, compute) for name, graph in graphs.items()}


def _language_model(d: ModelDimensions, limits: Limits) -> GraphSignature:
    """Prefill of T new tokens behind a shared prefix of P rows and S own rows.

    Keys are cached before RoPE: positions are inputs, so a row stays valid when a window rolls and its position moves.
    The prefix stands at positions 0..P-1 and is visible to every query; `attention_mask` is added to the scores
    (0 or MASKED), keys in the order prefix, past, new. Sentences of different length are padded on the LEFT, so that
    the last row is every sentence's last prompt token: the one whose hidden state predicts [SEG].
    """
    head = (d.key_value_heads, d.head_width)
    inputs = [
        TensorSignature("inputs_embeds", COMPUTE, ("sentences", "new_tokens", d.language_width)),
        TensorSignature("positions", "int32", ("sentences", "new_tokens")),
        TensorSignature("past_positions", "int32", ("sentences", "past_tokens")),
        TensorSignature("attention_mask", "float32", ("sentences", "new_tokens", "all_tokens")),
    ]
    outputs = [
        TensorSignature("segment_embedding", "float32", ("sentences", d.segment_width)),
        TensorSignature("next_token", "int32", ("sentences",)),
    ]
    if d.scores_frames:
        # What the last row says as [SCORE], the IoU expected of the frame's mask; of other rows it says nothing.
        outputs.append(TensorSignature("frame_score", "float32", ("sentences",)))
    for layer in range(d.language_layers):
        for kind in ("key", "value"):
            inputs.append(TensorSignature(f"prefix_{kind}_{layer}", COMPUTE, ("prefix_tokens", *head)))
            inputs.append(TensorSignature(f"past_{kind}_{layer}", COMPUTE, ("past_tokens", "sentences", *head)))
            outputs.append(TensorSignature(f"new_{kind}_{layer}", COMPUTE, ("new_tokens", "sentences", *head)))
    return GraphSignature(
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        axes={
            "sentences": Axis(1, 1, limits.sentences),
            "new_tokens": Axis(1, min(384, limits.new_tokens), limits.new_tokens),
            "prefix_tokens": Axis(0, min(332, limits.context_tokens), limits.context_tokens),
            "past_tokens": Axis(0, 0, limits.past_tokens),
            # prefix + past + new: no free dimension, but ONNX needs a name for it.
            "all_tokens": Axis(
                1,
                min(332, limits.context_tokens) + min(384, limits.new_tokens),
                limits.context_tokens + limits.past_tokens + limits.new_tokens,
            ),
        },
    )


def _resolved(graph: GraphSignature, compute: str) -> GraphSignature:
    def resolve(tensor: TensorSignature) -> TensorSignature:
        return TensorSignature(tensor.name, compute if tensor.dtype == COMPUTE else tensor.dtype, tensor.shape)

    return GraphSignature(tuple(map(resolve, graph.inputs)), tuple(map(resolve, graph.outputs)), graph.axes)
