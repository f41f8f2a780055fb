import pytest
import torch
from torch import nn

from glus_edge.benchmarks.reference.reference_language import fill, missing_prefix

pytestmark = pytest.mark.torch


class Tower(nn.Module):
    """CLIP's tower as one release of transformers or another names its parameters."""

    def __init__(self, prefixed: bool) -> None:
        super().__init__()
        inner = nn.ModuleDict({"embeddings": nn.Linear(2, 3)})
        self.parts = inner
        self._prefix = "vision_model." if prefixed else ""

    def named_parameters(self, *_: object, **__: object):  # type: ignore[no-untyped-def]
        for name, parameter in self.parts.named_parameters():
            yield self._prefix + name, parameter


@pytest.mark.parametrize("prefixed", [True, False])
def test_clips_files_fill_the_tower_whichever_names_transformers_gives_it(prefixed: bool) -> None:
    files = {
        "vision_model.embeddings.weight": torch.full((3, 2), 2.0),
        "vision_model.embeddings.bias": torch.full((3,), 3.0),
    }
    tower = Tower(prefixed)
    fill(tower, files.__getitem__, missing_prefix(tower, "vision_model."))
    linear = tower.parts["embeddings"]
    assert (linear.weight == 2).all()
    assert (linear.bias == 3).all()
    assert not any(parameter.requires_grad for parameter in linear.parameters())
