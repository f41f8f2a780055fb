"""The settings of a checkpoint's config.json that this package follows; what it cannot follow is refused."""

from dataclasses import dataclass

from glus_edge.export.checkpoint.json_file import JsonObject


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
        config.require("hidden_act", "silu", "GLUS is built on LLaMA")
        config.require("tie_word_embeddings", False, "GLUS has its own lm_head")
        config.require("attention_bias", False, "LLaMA attention has no biases")
        config.require("mlp_bias", False, "LLaMA MLPs have no biases")
        config.require("mm_vision_select_layer", -2, "GLUS reads the layer before the last of CLIP")
        config.require("mm_vision_select_feature", "patch", "GLUS drops the class token of CLIP")
        config.require("mm_use_im_start_end", True, "GLUS puts <im_start> and <im_end> around an image")
        if config.values.get("rope_scaling") is not None:
            raise config.error("rope_scaling", "null: scaled rotary positions are not supported")
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
            rope_theta=config.number("rope_theta", 10000.0),
            vision_width=config.integer("mm_hidden_size", maximum=1 << 16),
            segment_width=config.integer("out_dim", 256, maximum=1 << 16),
            vision_tower=config.text("mm_vision_tower", config.text("vision_tower", "")),
        )
        if language.hidden_size % language.heads or language.head_width % 2:
            raise config.error("num_attention_heads", f"a divisor of hidden_size {language.hidden_size}, even quotient")
        if language.heads % language.key_value_heads:
            raise config.error("num_key_value_heads", f"a divisor of num_attention_heads {language.heads}")
        config.require("head_dim", language.head_width, "hidden_size / num_attention_heads")
        return language
