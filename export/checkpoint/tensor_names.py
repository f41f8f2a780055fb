"""The tensors a GLUS checkpoint must hold, and one clear line about those that it lacks, has too many, or mis-shapes."""

from collections.abc import Iterable, Mapping

from glus_edge.export.checkpoint.language_config import LanguageConfig
from glus_edge.export.checkpoint.weight_folder import WeightFolder
from glus_edge.runtime.errors import CheckpointError

SHOWN = 3  # names listed of each kind
SCORE_PREFIX = "model.score_fcs.0."  # of a checkpoint with a [SCORE] token

Shapes = dict[str, tuple[int, ...]]


def language_shapes(config: LanguageConfig) -> Shapes:
    """Names and shapes of the language model, the projector in front of it and the head behind it."""
    c = config
    keys = c.key_value_heads * c.head_width
    shapes: Shapes = {
        "model.embed_tokens.weight": (c.vocabulary_size, c.hidden_size),
        "model.norm.weight": (c.hidden_size,),
        "lm_head.weight": (c.vocabulary_size, c.hidden_size),
        "model.mm_projector.weight": (c.hidden_size, c.vision_width),
        "model.mm_projector.bias": (c.hidden_size,),
        "model.text_hidden_fcs.0.0.weight": (c.hidden_size, c.hidden_size),
        "model.text_hidden_fcs.0.0.bias": (c.hidden_size,),
        "model.text_hidden_fcs.0.2.weight": (c.segment_width, c.hidden_size),
        "model.text_hidden_fcs.0.2.bias": (c.segment_width,),
    }
    for layer in range(c.layers):
        prefix = f"model.layers.{layer}."
        shapes |= {
            prefix + "self_attn.q_proj.weight": (c.hidden_size, c.hidden_size),
            prefix + "self_attn.k_proj.weight": (keys, c.hidden_size),
            prefix + "self_attn.v_proj.weight": (keys, c.hidden_size),
            prefix + "self_attn.o_proj.weight": (c.hidden_size, c.hidden_size),
            prefix + "mlp.gate_proj.weight": (c.intermediate_size, c.hidden_size),
            prefix + "mlp.up_proj.weight": (c.intermediate_size, c.hidden_size),
            prefix + "mlp.down_proj.weight": (c.hidden_size, c.intermediate_size),
            prefix + "input_layernorm.weight": (c.hidden_size,),
            prefix + "post_attention_layernorm.weight": (c.hidden_size,),
        }
    return shapes


def score_shapes(config: LanguageConfig) -> Shapes:
    """Names and shapes of the head behind [SCORE]."""
    shapes: Shapes = {}
    for step, width, inputs in (
        (0, config.hidden_size, config.hidden_size),
        (2, config.segment_width, config.hidden_size),
        (4, 1, config.segment_width),
    ):
        shapes |= {f"{SCORE_PREFIX}{step}.weight": (width, inputs), f"{SCORE_PREFIX}{step}.bias": (width,)}
    return shapes


def check_tensors(weights: WeightFolder, expected: Mapping[str, tuple[int, ...]], ignored: Iterable[str] = ()) -> None:
    """Raises CheckpointError unless `weights` holds exactly the `expected` names and shapes.

    `ignored`: beginnings of names that may be there or not, in any shape; `rotary_emb.inv_freq` always is one.
    """
    beginnings = tuple(ignored)

    def is_checked(name: str) -> bool:
        return not name.startswith(beginnings) and not name.endswith("rotary_emb.inv_freq")

    names = [name for name in weights.names() if is_checked(name)]
    wanted = {name: shape for name, shape in expected.items() if is_checked(name)}
    missing = [name for name in wanted if name not in weights]
    left_over = [name for name in names if name not in wanted]
    mis_shaped = [
        f"{name} (got {_text(weights.shape(name))}, expected {_text(shape)})"
        for name, shape in wanted.items()
        if name in weights and weights.shape(name) != shape
    ]
    problems = [
        f"{len(found)} {kind}: {', '.join(found[:SHOWN])}{', ...' if len(found) > SHOWN else ''}"
        for kind, found in (("missing", missing), ("mis-shaped", mis_shaped), ("left over", left_over))
        if found
    ]
    if problems:
        raise CheckpointError(
            f"{weights.folder}: the tensors are not those of the configuration: {'; '.join(problems)}; "
            "check that config.json, the SAM 2 configuration and the weights belong together"
        )


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a scalar"
