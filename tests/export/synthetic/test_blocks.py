"""Graphs whose int4 matrices were drawn as they are stored."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from glus_edge.export.checkpoint.tensor_names import language_shapes
from glus_edge.export.language.graph import write_language_model
from glus_edge.export.synthetic.blocks import SyntheticBlocks
from glus_edge.export.synthetic.sizes import SIZES
from glus_edge.export.synthetic.weights import language_tensor
from glus_edge.export.vision.dimensions import Sam2Sizes, model_dimensions
from tests.export.language_golden import prefill, session

pytestmark = pytest.mark.torch

CONFIG = SIZES["tiny"].language
SEGMENT_ID = CONFIG.vocabulary_size - 3
DIMENSIONS = model_dimensions(SIZES["tiny"].vision, CONFIG, Sam2Sizes.from_tree(SIZES["tiny"].sam2_tree()))


class Floats:
    """The same model in floats."""

    config = CONFIG

    def tensor(self, name: str) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        return language_tensor(name, language_shapes(CONFIG)[name], CONFIG, SEGMENT_ID, generator)


def written(folder: Path, seed: int = 0, compute: str = "float16") -> Path:
    folder.mkdir()
    source = SyntheticBlocks(CONFIG, SEGMENT_ID, seed)
    write_language_model(source, DIMENSIONS, folder / "l.onnx", compute, "int4", blocks=source.blocks)
    return folder / "l.onnx"


def test_the_file_is_laid_out_as_if_its_weights_had_been_rounded(tmp_path: Path) -> None:
    drawn = written(tmp_path / "drawn")
    (tmp_path / "rounded").mkdir()
    rounded = tmp_path / "rounded" / "l.onnx"
    write_language_model(Floats(), DIMENSIONS, rounded, "float16", "int4")
    assert drawn.read_bytes() == rounded.read_bytes()  # nodes, tensors, types, sizes and offsets
    assert (drawn.parent / "l.onnx.data").stat().st_size == (rounded.parent / "l.onnx.data").stat().st_size


def test_activations_are_of_order_one_and_the_segment_token_wins(tmp_path: Path) -> None:
    model = session(written(tmp_path / "model", compute="float32"), qdq_matmulnbits_accuracy_level="1")
    rows = np.random.default_rng(0).standard_normal((3, 9, CONFIG.hidden_size), np.float32)
    rows[..., 0] = 2.5
    found = prefill(model, rows)
    assert found.next_token.tolist() == [SEGMENT_ID] * 3
    assert 0.1 < found.segment_embedding.std() < 10


def test_every_scale_is_positive_and_every_matrix_is_another(tmp_path: Path) -> None:
    model = onnx.load(written(tmp_path / "model"))
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for name, values in arrays.items():
        if name.endswith(".scale"):
            assert (values > 0).all(), name
    first, second = (arrays[f"model.layers.{layer}.self_attn.q_proj.weight"] for layer in (0, 1))
    assert not np.array_equal(first, second)
    assert len(np.unique(first.astype(np.int8))) == 15


def test_the_seed_alone_makes_the_file(tmp_path: Path) -> None:
    first, same, other = (
        (written(tmp_path / name, seed).parent / "l.onnx.data").read_bytes()
        for name, seed in (("first", 0), ("same", 0), ("other", 1))
    )
    assert first == same
    assert first != other
