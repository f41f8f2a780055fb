"""The library's own CLIP, built from config.json: this package's reading of it cannot agree with itself."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from glus_edge.export.checkpoint.checkpoint import Checkpoint
from glus_edge.export.checkpoint.vision_tower import VisionTower
from glus_edge.export.parity.clip import check_clip
from glus_edge.export.vision.clip_encoder import ClipEncoder
from glus_edge.runtime.errors import CheckpointError, ParityError
from tests.export import checkpoint_files as files

pytestmark = pytest.mark.torch

PIXELS = torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(0))


def golden_encoder(tower: VisionTower) -> ClipEncoder:
    return ClipEncoder.load(tower, Checkpoint.open(files.GOLDEN / "checkpoint"))


def test_the_golden_tower_is_the_librarys() -> None:
    tower = VisionTower.open(files.GOLDEN / "clip")
    assert check_clip(golden_encoder(tower), tower, PIXELS).shape == (2, 4, 64)


@pytest.mark.parametrize("misread", [{"activation": "gelu"}, {"heads": 2}, {"layer_norm_eps": 0.1}])
def test_a_setting_read_otherwise_than_the_library_does_is_found(misread: dict[str, object]) -> None:
    tower = VisionTower.open(files.GOLDEN / "clip")
    changed = replace(tower, config=replace(tower.config, **misread))  # type: ignore[arg-type]
    with pytest.raises(ParityError, match="from transformers'"):
        check_clip(golden_encoder(changed), changed, PIXELS)


def test_what_the_library_refuses_is_one_line(tmp_path: Path) -> None:
    shutil.copytree(files.GOLDEN / "clip", tmp_path / "clip")
    tower = VisionTower.open(tmp_path / "clip")
    path = tmp_path / "clip" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"hidden_size": "x"}))
    with pytest.raises(CheckpointError, match=r"config\.json: transformers builds no CLIP from it"):
        check_clip(golden_encoder(tower), tower, PIXELS)
