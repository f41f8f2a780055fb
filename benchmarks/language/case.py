"""A language model's graph of any shape with random int4 weights, what it is given, and how much it must compute."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glus_edge.benchmarks.instruments.graph_work import GraphWork
from glus_edge.benchmarks.language.prefill import PrefillCase
from glus_edge.export.checkpoint.language_config import LanguageConfig
from glus_edge.export.language.graph import write_language_model
from glus_edge.export.synthetic.blocks import SyntheticBlocks
from glus_edge.runtime.bundle.signatures import ModelDimensions, signatures

COMPUTE = "float32"


def write_random_step(config: LanguageConfig, path: Path) -> None:
    """Writes `path` and its data file: computing in float32, matrices in int4."""
    source = SyntheticBlocks(config, config.vocabulary_size - 1)
    dimensions = language_dimensions(config)
    write_language_model(source, dimensions, path, COMPUTE, "int4", blocks=source.blocks)


def random_inputs(config: LanguageConfig, prefill: PrefillCase) -> dict[str, NDArray[Any]]:
    """One sentence whose new rows see all cached ones, which lie in the shared prefix; activations of order one."""
    generator = np.random.default_rng(0)
    sizes = axis_sizes(prefill)
    inputs: dict[str, NDArray[Any]] = {}
    for tensor in signatures(language_dimensions(config), COMPUTE)["language_model"].inputs:
        shape = [sizes[size] if isinstance(size, str) else size for size in tensor.shape]
        if tensor.name == "positions":
            inputs[tensor.name] = np.arange(prefill.cached, prefill.cached + prefill.new, dtype=np.int32)[None]
        elif tensor.name in ("past_positions", "attention_mask"):
            inputs[tensor.name] = np.zeros(shape, tensor.dtype)
        else:
            inputs[tensor.name] = generator.standard_normal(shape, np.float32)
    return inputs


def step_flops(path: Path, prefill: PrefillCase) -> int:
    """Of the matrix products of one call."""
    return GraphWork(path).work(axis_sizes(prefill)).flops


def axis_sizes(prefill: PrefillCase) -> dict[str, int]:
    """The graph's varying dimensions."""
    sizes = {"sentences": 1, "new_tokens": prefill.new, "prefix_tokens": prefill.cached, "past_tokens": 0}
    return sizes | {"all_tokens": prefill.cached + prefill.new}


def language_dimensions(config: LanguageConfig) -> ModelDimensions:
    """A model of which only the language model matters: image sides are zero."""
    return ModelDimensions(
        clip_size=0,
        image_tokens=0,
        language_width=config.hidden_size,
        language_layers=config.layers,
        language_heads=config.heads,
        key_value_heads=config.key_value_heads,
        vocabulary_size=config.vocabulary_size,
        max_positions=config.max_positions,
        image_size=0,
        segment_width=config.segment_width,
        memory_width=0,
        stride_4_width=0,
        stride_8_width=0,
    )
