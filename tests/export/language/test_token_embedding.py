from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from glus_edge.export.checkpoint.checkpoint import Checkpoint
from glus_edge.export.language.token_embedding import write_table, write_token_embedding
from glus_edge.runtime.bundle.token_embedding import TokenEmbedding
from glus_edge.runtime.errors import CheckpointError
from tests.export.language_golden import GOLDEN

pytestmark = pytest.mark.torch


class OneTensor:
    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor = tensor

    def tensor(self, name: str) -> torch.Tensor:
        assert name == "model.embed_tokens.weight"
        return self._tensor


@pytest.mark.parametrize(("storage", "compute"), [("fp32", "float32"), ("fp16", "float16")])
def test_rows_are_the_checkpoints_and_can_be_memory_mapped(tmp_path: Path, storage: str, compute: str) -> None:
    checkpoint = Checkpoint.open(GOLDEN / "checkpoint")
    write_token_embedding(checkpoint, tmp_path / "table.npy", storage)
    table = np.load(tmp_path / "table.npy", mmap_mode="r")
    assert isinstance(table, np.memmap)
    assert table.dtype == np.dtype(compute)
    assert np.array_equal(table, checkpoint.tensor("model.embed_tokens.weight").numpy().astype(compute))


def test_a_table_longer_than_a_slice_is_written_whole(tmp_path: Path) -> None:
    table = torch.randn(10000, 4).bfloat16()
    checkpoint: Any = OneTensor(table)
    write_token_embedding(checkpoint, tmp_path / "table.npy", "fp32")
    assert np.array_equal(np.load(tmp_path / "table.npy"), table.float().numpy())


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_a_table_in_int8_is_a_quarter_and_each_row_is_as_near_as_its_largest_value_allows(
    tmp_path: Path, scale: float
) -> None:
    table = torch.randn(5000, 64, generator=torch.Generator().manual_seed(0)) * scale
    table[7] = 0
    checkpoint: Any = OneTensor(table)
    write_token_embedding(checkpoint, tmp_path / "table.npy", "int8")
    assert (tmp_path / "table.npy").stat().st_size < 0.28 * table.numel() * 4
    found = TokenEmbedding.open(tmp_path / "table.npy", 5000, 64)
    assert (found.precision, found.shape, len(found)) == ("int8", (5000, 64), 5000)
    rows = found[np.array([[4999, 7], [7, 0]])]
    assert (rows.shape, rows.dtype) == ((2, 2, 64), np.float32)
    assert not rows[0, 1].any()
    exact = table.numpy()
    step = np.abs(exact).max(axis=1, keepdims=True) / 127
    assert (np.abs(found[:] - exact) <= 0.5001 * step).all()


@pytest.mark.parametrize("storage", ["fp32", "fp16", "int8"])
def test_the_file_grows_with_what_is_written_so_that_a_full_disk_is_an_error(tmp_path: Path, storage: str) -> None:
    sizes = []

    def parts() -> Iterator[NDArray[np.floating]]:
        for _ in range(3):
            sizes.append((tmp_path / "table.npy").stat().st_size)
            yield np.ones((4096, 16), np.float32)

    write_table(tmp_path / "table.npy", storage, 16, 3 * 4096, parts())
    assert sizes[0] < 4096 < sizes[1] < sizes[2] < (tmp_path / "table.npy").stat().st_size
    assert (TokenEmbedding.open(tmp_path / "table.npy", 3 * 4096, 16)[:] == 1).all()


@pytest.mark.parametrize(("value", "words"), [(float("nan"), "NaN"), (float("-inf"), "infinity"), (1e5, "fp32")])
def test_values_that_cannot_be_stored_are_refused(tmp_path: Path, value: float, words: str) -> None:
    table = torch.zeros(3, 4)
    table[1, 2] = value
    checkpoint: Any = OneTensor(table)
    with pytest.raises(CheckpointError, match=f"model.embed_tokens.weight.*{words}"):
        write_token_embedding(checkpoint, tmp_path / "table.npy", "fp16")
