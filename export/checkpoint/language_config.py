"""The settings of a checkpoint's config.json that change what is computed: followed, or refused by name."""

from dataclasses import dataclass

from glus_edge.export.checkpoint.json_file import JsonObject
from glus_edge.export.checkpoint.rotary_config import rope_theta

_LLAMA = "GLUS is built on LLaMA"
_NO_BIAS = "LLaMA has no biases here"
_NO_SCALE = "LLaMA scales nothing here"
_WHOLE_CONTEXT = "LLaMA attends to everything before a token"
# Keys that may be absent or null, with the values that leave the model as this package computes it. Other values are
# refused. The keys are those of transformers 4 and 5 for LLaMA and for models that grew out of it.
NEUTRAL: dict[str, tuple[tuple[object, ...], str]] = {
    # The language model.
    "model_type": (("llava", "llama", "llava_llama", "glus", "lisa"), _LLAMA),
    "hidden_act": (("silu", "swish"), _LLAMA),
    "hidden_activation": (("silu", "swish"), _LLAMA),
    "norm_type": (("rmsnorm", "rms_norm", "RMSNorm"), _LLAMA),
    "tie_word_embeddings": ((False,), "GLUS has its own lm_head"),
    **dict.fromkeys(
        ("attention_bias", "mlp_bias", "bias", "use_bias", "qkv_bias", "attention_out_bias", "lm_head_bias"),
        ((False,), _NO_BIAS),
    ),
    **dict.fromkeys(
        ("embedding_multiplier", "attention_multiplier", "residual_multiplier", "logits_scaling", "logit_scale"),
        ((1,), _NO_SCALE),
    ),
    **dict.fromkeys(("scale_emb", "scale_depth", "dim_model_base", "query_pre_attn_scalar"), ((), _NO_SCALE)),
    **dict.fromkeys(("attn_logit_softcapping", "final_logit_softcapping", "clip_qkv"), ((), _NO_SCALE)),
    **dict.fromkeys(
        ("qk_norm", "use_qk_norm", "qk_layernorm"), ((False,), "LLaMA does not normalise queries and keys")
    ),
    **dict.fromkeys(("alibi", "use_alibi", "parallel_attn", "use_parallel_residual"), ((False,), _LLAMA)),
    "position_embedding_type": (("rope", "rotary"), _LLAMA),
    **dict.fromkeys(("attention_chunk_size", "local_attention_window"), ((), _WHOLE_CONTEXT)),
    **dict.fromkeys(("num_local_experts", "num_experts", "n_routed_experts"), ((0, 1), "LLaMA has no experts")),
    **dict.fromkeys(
        ("quantization_config", "compression_config"),
        ((), "weights are read as float32, bfloat16 or float16; give the checkpoint from before its quantisation"),
    ),
    "text_config": ((), "GLUS keeps the language model's settings at the top of config.json"),
    "is_encoder_decoder": ((False,), _LLAMA),
    # The way of images into the prompt.
    "mm_vision_select_layer": ((-2,), "GLUS reads the layer before the last of CLIP"),
    "mm_vision_select_feature": (("patch",), "GLUS drops the class token of CLIP"),
    "mm_use_im_start_end": ((True,), "GLUS puts <im_start> and <im_end> around an image"),
    "mm_projector_type": (("linear",), "GLUS has one linear layer behind CLIP"),
    "mm_patch_merge_type": (("flat",), "GLUS reads an image as one row of patches"),
    # The masks.
    "mask_threshold": ((0,), "GLUS cuts mask logits at 0"),
    "max_hole_area": ((0,), "GLUS fills no holes"),
    "max_sprinkle_area": ((0,), "GLUS removes no specks"),
}


@dataclass(frozen=True)
class LanguageConfig:
    """LLaMA sizes, and how images enter the prompt. The released model's value is given after each field."""

    hidden_size: int  # 4096
    intermediate_size: int  # 11008
    layers: int  # 32
    heads: int  # 32
    key_value_heads: int  # 32; fewer with grouped-query attention
    vocabulary_size: int  # added tokens included
    max_positions: int  # 4096
    rms_norm_eps: float  # 1e-5
    rope_theta: float  # 10000
    vision_width: int  # hidden size of the CLIP tower: 1024
    segment_width: int  # out_dim, the d_model of SAM 2: 256
    vision_tower: str  # mm_vision_tower: a folder, or a name on the model hub

    @property
    def head_width(self) -> int:
        """Channels of one attention head."""
        return self.hidden_size // self.heads

    @classmethod
    def from_json(cls, config: JsonObject) -> "LanguageConfig":
        """Raises CheckpointError naming the key where a value is missing, out of range or not supported."""
        for key, (values, why) in NEUTRAL.items():
            config.require(key, values, why)
        _check_attention_window(config)
        # Slices of the matrices, one after the other: another order of the same sums.
        config.integer("pretraining_tp", 1)
        heads = config.integer("num_attention_heads", maximum=4096)
        language = cls(
            hidden_size=config.integer("hidden_size", maximum=1 << 17),
            intermediate_size=config.integer("intermediate_size", maximum=1 << 20),
            layers=config.integer("num_hidden_layers", maximum=1024),
            heads=heads,
            key_value_heads=config.integer("num_key_value_heads", heads, maximum=4096),
            vocabulary_size=config.integer("vocab_size"),
            max_positions=config.integer("max_position_embeddings", 2048),
            rms_norm_eps=config.number("rms_norm_eps", 1e-6),
            rope_theta=rope_theta(config),
            vision_width=config.integer("mm_hidden_size", maximum=1 << 16),
            segment_width=config.integer("out_dim", 256, maximum=1 << 16),
            vision_tower=config.text("mm_vision_tower", config.text("vision_tower", "")),
        )
        if language.hidden_size % language.heads or language.head_width % 2:
            raise config.error("num_attention_heads", f"a divisor of hidden_size {language.hidden_size}, even quotient")
        if language.heads % language.key_value_heads:
            raise config.error("num_key_value_heads", f"a divisor of num_attention_heads {language.heads}")
        config.require("head_dim", (language.head_width,), "hidden_size / num_attention_heads")
        for key in ("layer_norm_eps", "layer_norm_epsilon", "norm_eps"):
            config.require(key, (language.rms_norm_eps,), "LLaMA's norms have rms_norm_eps")
        return language


def _check_attention_window(config: JsonObject) -> None:
    if config.values.get("use_sliding_window") is not False:
        config.require("sliding_window", (), _WHOLE_CONTEXT)
        config.require("use_sliding_window", (False,), _WHOLE_CONTEXT)
    kinds = config.values.get("layer_types")
    if kinds is not None and (not isinstance(kinds, list) or any(kind != "full_attention" for kind in kinds)):
        raise config.error("layer_types", f"full_attention everywhere: {_WHOLE_CONTEXT}")
