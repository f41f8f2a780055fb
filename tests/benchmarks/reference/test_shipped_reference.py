"""The baseline of the model that ships."""

import json

import numpy as np
import pytest

from glus_edge.runtime.errors import InputError

pytestmark = pytest.mark.torch


def test_the_packed_weights_become_folders_the_baseline_opens(tmp_path):
    from glus_edge.benchmarks.reference.shipped_reference import shipped_source
    from glus_edge.export.checkpoint.checkpoint import Checkpoint
    from glus_edge.export.checkpoint.vision_tower import VisionTower
    from glus_edge.runtime.bundle.shipped import shipped_bundle

    source = shipped_source(tmp_path)
    checkpoint, tower = Checkpoint.open(source.checkpoint), VisionTower.open(source.vision_tower)
    model = json.loads((shipped_bundle() / "manifest.json").read_text())["model"]
    assert checkpoint.config.hidden_size == model["language_width"]
    assert tower.config.image_size == model["clip_size"]
    rows = np.load(shipped_bundle() / "token_embedding.npy", mmap_mode="r").shape[0]
    assert checkpoint.tensor("model.embed_tokens.weight").shape[0] == rows


def test_an_installation_without_them_says_what_to_give(tmp_path):
    from glus_edge.benchmarks.reference.shipped_reference import shipped_source

    with pytest.raises(
        InputError, match="got no weights in .*nowhere, expected the shipped model's, which a clone has"
    ):
        shipped_source(tmp_path, tmp_path / "nowhere")
