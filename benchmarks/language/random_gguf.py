"""A LLaMA of any size with random Q4_0 weights in GGUF, the format llama.cpp reads.

Q4_0 is llama.cpp's plainest 4-bit storage: blocks of 32 weights along the input channels, a float16 scale each. There is no
tokenizer in the file: benchmarks give token ids.
"""

import math
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter, LlamaFileType
from numpy.typing import NDArray

from glus_edge.export.checkpoint.language_config import LanguageConfig
from glus_edge.runtime.errors import InputError

BLOCK, BLOCK_BYTES = GGML_QUANT_SIZES[GGMLQuantizationType.Q4_0]  # weights of one scale, and what they take
_PATTERN_BLOCKS = 1 << 16  # drawn once and repeated: a 7B holds 200 million
_DEVIATION = math.sqrt((16**2 - 1) / 12)  # of a whole number drawn from 0..15


class _Weights(NamedTuple):
    name: str
    inputs: int  # the dimension that lies contiguous
    outputs: int  # 0: a vector

    @property
    def size_bytes(self) -> int:
        return self.outputs * self.inputs // BLOCK * BLOCK_BYTES if self.outputs else 4 * self.inputs


def write_random_gguf(config: LanguageConfig, path: Path) -> None:
    """Writes a model of these sizes to `path`. InputError: a matrix whose input channels no block divides."""
    tensors = list(_tensors(config))
    for tensor in tensors:
        if tensor.outputs and tensor.inputs % BLOCK:
            raise InputError(
                f"{tensor.name}: got {tensor.inputs} input channels, expected a multiple of {BLOCK}, the block of Q4_0; "
                "choose another --size"
            )
    with closing(GGUFWriter(path, "llama")) as writer:
        _describe(writer, config)
        for tensor in tensors:
            shape = (tensor.outputs, tensor.inputs) if tensor.outputs else (tensor.inputs,)
            kind = GGMLQuantizationType.Q4_0 if tensor.outputs else GGMLQuantizationType.F32
            writer.add_tensor_info(tensor.name, shape, np.dtype(np.float32), tensor.size_bytes, kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        pattern = _random_blocks()
        for tensor in tensors:
            writer.write_tensor_data(_values(tensor, pattern))


def _tensors(config: LanguageConfig) -> Iterator[_Weights]:
    c = config
    keys = c.key_value_heads * c.head_width
    yield _Weights("token_embd.weight", c.hidden_size, c.vocabulary_size)
    yield _Weights("output_norm.weight", c.hidden_size, 0)
    yield _Weights("output.weight", c.hidden_size, c.vocabulary_size)
    for layer in range(c.layers):
        at = f"blk.{layer}."
        yield _Weights(f"{at}attn_norm.weight", c.hidden_size, 0)
        yield _Weights(f"{at}attn_q.weight", c.hidden_size, c.hidden_size)
        yield _Weights(f"{at}attn_k.weight", c.hidden_size, keys)
        yield _Weights(f"{at}attn_v.weight", c.hidden_size, keys)
        yield _Weights(f"{at}attn_output.weight", c.hidden_size, c.hidden_size)
        yield _Weights(f"{at}ffn_norm.weight", c.hidden_size, 0)
        yield _Weights(f"{at}ffn_gate.weight", c.hidden_size, c.intermediate_size)
        yield _Weights(f"{at}ffn_up.weight", c.hidden_size, c.intermediate_size)
        yield _Weights(f"{at}ffn_down.weight", c.intermediate_size, c.hidden_size)


def _describe(writer: GGUFWriter, config: LanguageConfig) -> None:
    writer.add_file_type(LlamaFileType.MOSTLY_Q4_0)
    writer.add_block_count(config.layers)
    writer.add_context_length(config.max_positions)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_width)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_vocab_size(config.vocabulary_size)
    writer.add_tokenizer_model("none")


def _values(tensor: _Weights, pattern: NDArray[np.void]) -> NDArray[Any]:
    """A vector of ones, or blocks whose products of unit inputs have unit deviation."""
    if not tensor.outputs:
        return np.ones(tensor.inputs, np.float32)
    pattern["scale"] = 1 / (_DEVIATION * math.sqrt(tensor.inputs))
    return np.resize(pattern, tensor.size_bytes // BLOCK_BYTES)


def _random_blocks() -> NDArray[np.void]:
    """Blocks as they lie in the file: a scale, and 16 bytes of two weights each."""
    blocks = np.zeros(_PATTERN_BLOCKS, np.dtype([("scale", "<f2"), ("weights", "u1", BLOCK // 2)]))
    blocks["weights"] = np.random.default_rng(0).integers(0, 256, (_PATTERN_BLOCKS, BLOCK // 2), np.uint8)
    return blocks
