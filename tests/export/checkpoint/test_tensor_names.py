import pytest
import torch

from glus_edge.export.checkpoint.checkpoint import Checkpoint
from glus_edge.export.checkpoint.vision_tower import VisionTower
from glus_edge.export.vision.modules import load_modules
from glus_edge.runtime.errors import CheckpointError
from tests.export import checkpoint_files as files

pytestmark = pytest.mark.torch


def load(path):
    return load_modules(Checkpoint.open(path), VisionTower.open(files.GOLDEN / "clip"), str(files.SAM2_YAML))


def test_missing_left_over_and_mis_shaped_tensors_are_all_in_one_line(tmp_path):
    weights = files.golden_weights()
    for layer in range(3):
        for name in ("q_proj", "k_proj"):
            del weights[f"model.layers.{layer}.self_attn.{name}.weight"]
    weights["model.layers.3.mlp.up_proj.weight"] = torch.zeros(2)
    weights["lm_head.weight"] = torch.zeros(450, 64)
    with pytest.raises(CheckpointError) as caught:
        load(files.single_bin(tmp_path / "c", weights))
    message = str(caught.value)
    assert "6 missing: model.layers.0.self_attn.q_proj.weight" in message
    assert "1 mis-shaped: lm_head.weight (got 450x64, expected 451x64)" in message
    assert "1 left over: model.layers.3.mlp.up_proj.weight" in message
    assert "\n" not in message


def test_a_missing_tensor_of_sam_2_is_named_with_its_prefix(tmp_path):
    weights = files.golden_weights()
    del weights["model.visual_model.memory_encoder.fuser.layers.0.gamma"]
    with pytest.raises(
        CheckpointError, match=r"1 missing: model\.visual_model\.memory_encoder\.fuser\.layers\.0\.gamma"
    ):
        load(files.single_bin(tmp_path / "c", weights))


def test_what_the_model_never_reads_may_be_absent_extra_or_of_another_shape(tmp_path):
    weights = files.golden_weights()
    unread = [
        name
        for name in weights
        if "inv_freq" in name or "obj_ptr" in name or "point_embed" in name or "mask_downs" in name
    ]
    kept = {name: tensor for name, tensor in weights.items() if name not in unread or "mask_downsampler" in name}
    kept["model.visual_model.maskmem_tpos_enc"] = torch.zeros(3, 1, 1, 16)
    kept["model.vision_tower.vision_tower.vision_model.post_layernorm.weight"] = torch.zeros(48)
    modules = load(files.single_bin(tmp_path / "c", kept))
    assert modules.dimensions.memory_width == 16


def test_a_tower_of_another_width_is_not_the_checkpoints(tmp_path):
    config = files.golden_config() | {"mm_hidden_size": 1024}
    with pytest.raises(CheckpointError, match="got width 48, expected mm_hidden_size 1024"):
        load(files.single_bin(tmp_path / "c", files.golden_weights(), config))


def test_a_segmenter_of_another_width_is_not_the_checkpoints(tmp_path):
    config = files.golden_config() | {"out_dim": 256}
    with pytest.raises(CheckpointError, match="got d_model 64, expected out_dim 256"):
        load(files.single_bin(tmp_path / "c", files.golden_weights(), config))
