"""A LLaMA of any size with random Q4_0 weights in GGUF, the format llama.cpp reads (ggml's docs/gguf.md, version 3).

Q4_0 is llama.cpp's plainest 4-bit storage: blocks of 32 weights along the input channels, a float16 scale each. There is no
tokenizer in the file: benchmarks give token ids.
"""

import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from glus_edge.export.checkpoint.language_config import LanguageConfig
from glus_edge.runtime.errors import InputError

BLOCK = 32  # weights of one scale
BLOCK_BYTES = 2 + BLOCK // 2
ALIGNMENT = 32  # of every tensor, GGUF's default
_VERSION = 3
_F32, _Q4_0 = 0, 2  # tensor types, as ggml numbers them
_MOSTLY_Q4_0 = 2  # file type, as llama.cpp numbers them
_UINT32, _FLOAT32, _STRING = 4, 6, 8  # value types
_PATTERN_BLOCKS = 1 << 16  # drawn once and repeated: a 7B holds 200 million
_DEVIATION = math.sqrt((16**2 - 1) / 12)  # of a whole number drawn from 0..15


class _Tensor(NamedTuple):
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
    pattern = _random_blocks()
    with path.open("wb") as file:
        _write_head(file, config, tensors)
        for tensor in tensors:
            file.write(bytes(-file.tell() % ALIGNMENT))
            if not tensor.outputs:
                file.write(np.ones(tensor.inputs, "<f4").tobytes())
                continue
            # unit deviation of the products of unit inputs
            pattern["scale"] = 1 / (_DEVIATION * math.sqrt(tensor.inputs))
            blocks = tensor.size_bytes // BLOCK_BYTES
            for start in range(0, blocks, _PATTERN_BLOCKS):
                file.write(pattern[: blocks - start].tobytes())
        file.write(bytes(-file.tell() % ALIGNMENT))


def _tensors(config: LanguageConfig) -> Iterator[_Tensor]:
    c = config
    keys = c.key_value_heads * c.head_width
    yield _Tensor("token_embd.weight", c.hidden_size, c.vocabulary_size)
    yield _Tensor("output_norm.weight", c.hidden_size, 0)
    yield _Tensor("output.weight", c.hidden_size, c.vocabulary_size)
    for layer in range(c.layers):
        at = f"blk.{layer}."
        yield _Tensor(f"{at}attn_norm.weight", c.hidden_size, 0)
        yield _Tensor(f"{at}attn_q.weight", c.hidden_size, c.hidden_size)
        yield _Tensor(f"{at}attn_k.weight", c.hidden_size, keys)
        yield _Tensor(f"{at}attn_v.weight", c.hidden_size, keys)
        yield _Tensor(f"{at}attn_output.weight", c.hidden_size, c.hidden_size)
        yield _Tensor(f"{at}ffn_norm.weight", c.hidden_size, 0)
        yield _Tensor(f"{at}ffn_gate.weight", c.hidden_size, c.intermediate_size)
        yield _Tensor(f"{at}ffn_up.weight", c.hidden_size, c.intermediate_size)
        yield _Tensor(f"{at}ffn_down.weight", c.intermediate_size, c.hidden_size)


def _write_head(file: BinaryIO, config: LanguageConfig, tensors: list[_Tensor]) -> None:
    values: Mapping[str, str | int | float] = {
        "general.architecture": "llama",
        "general.file_type": _MOSTLY_Q4_0,
        "llama.block_count": config.layers,
        "llama.context_length": config.max_positions,
        "llama.embedding_length": config.hidden_size,
        "llama.feed_forward_length": config.intermediate_size,
        "llama.attention.head_count": config.heads,
        "llama.attention.head_count_kv": config.key_value_heads,
        "llama.attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "llama.rope.dimension_count": config.head_width,
        "llama.rope.freq_base": config.rope_theta,
        "llama.vocab_size": config.vocabulary_size,
        "tokenizer.ggml.model": "none",
    }
    file.write(struct.pack("<4sIQQ", b"GGUF", _VERSION, len(tensors), len(values)))
    for key, value in values.items():
        file.write(_string(key))
        if isinstance(value, str):
            file.write(struct.pack("<I", _STRING) + _string(value))
        elif isinstance(value, int):
            file.write(struct.pack("<II", _UINT32, value))
        else:
            file.write(struct.pack("<If", _FLOAT32, value))
    offset = 0  # from the end of the head
    for tensor in tensors:
        dimensions = (tensor.inputs, tensor.outputs) if tensor.outputs else (tensor.inputs,)
        file.write(_string(tensor.name) + struct.pack("<I", len(dimensions)))
        file.write(struct.pack(f"<{len(dimensions)}Q", *dimensions))
        file.write(struct.pack("<IQ", _Q4_0 if tensor.outputs else _F32, offset))
        offset += tensor.size_bytes + -tensor.size_bytes % ALIGNMENT


def _string(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def _random_blocks() -> "np.ndarray[tuple[int], np.dtype[np.void]]":
    """Blocks as they lie in the file: a scale, and 16 bytes of two weights each."""
    blocks = np.zeros(_PATTERN_BLOCKS, np.dtype([("scale", "<f2"), ("weights", "u1", BLOCK // 2)]))
    blocks["weights"] = np.random.default_rng(0).integers(0, 256, (_PATTERN_BLOCKS, BLOCK // 2), np.uint8)
    return blocks
