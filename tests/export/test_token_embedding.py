from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from glus_edge.export.checkpoint import Checkpoint
from glus_edge.export.token_embedding import write_token_embedding
from glus_edge.runtime.errors import CheckpointError
from tests.export.language_golden import GOLDEN

pytestmark = pytest.mark.torch


class OneTensor:
    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor = tensor

    def tensor(self, name: str) -> torch.Tensor:
        assert name == "model.embed_tokens.weight"
        return self._tensor


@pytest.mark.parametrize("compute", ["float32", "float16"])
def test_rows_are_the_checkpoints_and_can_be_memory_mapped(tmp_path: Path, compute: str) -> None:
    checkpoint = Checkpoint.open(GOLDEN / "checkpoint")
    write_token_embedding(checkpoint, tmp_path / "table.npy", compute)
    table = np.load(tmp_path / "table.npy", mmap_mode="r")
    assert isinstance(table, np.memmap)
    assert table.dtype == np.dtype(compute)
    assert np.array_equal(table, checkpoint.tensor("model.embed_tokens.weight").numpy().astype(compute))


def test_a_table_longer_than_a_slice_is_written_whole(tmp_path: Path) -> None:
    table = torch.randn(10000, 4).bfloat16()
    checkpoint: Any = OneTensor(table)
    write_token_embedding(checkpoint, tmp_path / "table.npy", "float32")
    assert np.array_equal(np.load(tmp_path / "table.npy"), table.float().numpy())


@pytest.mark.parametrize(("value", "words"), [(float("nan"), "NaN"), (float("-inf"), "infinity"), (1e5, "fp32")])
def test_values_that_cannot_be_stored_are_refused(tmp_path: Path, value: float, words: str) -> None:
    table = torch.zeros(3, 4)
    table[1, 2] = value
    checkpoint: Any = OneTensor(table)
    with pytest.raises(CheckpointError, match=f"model.embed_tokens.weight.*{words}"):
        write_token_embedding(checkpoint, tmp_path / "table.npy", "float16")
