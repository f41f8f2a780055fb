import json
import shutil

import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel

from glus_edge.export.checkpoint.checkpoint import Checkpoint
from glus_edge.export.checkpoint.vision_tower import VisionTower
from glus_edge.export.vision.clip_encoder import ClipEncoder
from glus_edge.runtime.errors import CheckpointError
from tests.export import checkpoint_files as files

pytestmark = pytest.mark.torch

FLAT = {
    "crop_size": 56,
    "do_center_crop": True,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "size": 56,
}


def copied(tmp_path, **changes):
    path = tmp_path / "clip"
    shutil.copytree(files.GOLDEN / "clip", path)
    for file, values in changes.items():
        target = path / f"{file}.json"
        target.write_text(json.dumps(json.loads(target.read_text()) | values))
    return path


def whole_clip(path, activation="quick_gelu"):
    """A whole CLIP, text half included, with the flat preprocessor file of its first release."""
    torch.manual_seed(0)
    vision = {"hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 4}
    vision |= {"image_size": 56, "patch_size": 14, "hidden_act": activation}
    text = {"hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def golden_checkpoint():
    return Checkpoint.open(files.GOLDEN / "checkpoint")


def test_golden_tower_gives_sizes_and_normalisation():
    tower = VisionTower.open(files.GOLDEN / "clip")
    assert (tower.config.width, tower.config.patches, tower.image.size) == (48, 16, 56)
    assert tower.image.mean == (0.48145466, 0.4578275, 0.40821073)


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@pytest.mark.parametrize("safe", [True, False])
def test_a_whole_clip_with_a_flat_preprocessor_file_gives_the_same_tokens_as_transformers(tmp_path, activation, safe):
    model = whole_clip(tmp_path, activation)
    if safe:
        model.save_pretrained(tmp_path)
    else:
        model.config.save_pretrained(tmp_path)
        # The first release also stored the positions' numbers.
        position_ids = {"vision_model.embeddings.position_ids": torch.arange(17)[None]}
        torch.save(model.state_dict() | position_ids, tmp_path / "pytorch_model.bin")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(FLAT))
    checkpoint = golden_checkpoint()
    encoder = ClipEncoder.load(VisionTower.open(tmp_path), checkpoint)
    pixels = torch.randn(2, 3, 56, 56)
    with torch.inference_mode():
        states = model.vision_model(pixels, output_hidden_states=True).hidden_states
        pooled = torch.nn.functional.avg_pool1d(states[-2][:, 1:].transpose(1, 2), 4, 4).transpose(1, 2)
        projector = [checkpoint.tensor(f"model.mm_projector.{name}") for name in ("weight", "bias")]
        expected = torch.nn.functional.linear(pooled, *projector)
        torch.testing.assert_close(encoder(pixels), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"preprocessor_config": {"crop_size": {"height": 56, "width": 48}}}, ("crop_size", "one side")),
        ({"preprocessor_config": {"crop_size": 48}}, ("crop_size", "image_size 56")),
        ({"preprocessor_config": {"size": {"shortest_edge": 64}}}, ("size", "image_size 56")),
        ({"preprocessor_config": {"size": {"height": 56, "width": 56}}}, ("size", "shortest_edge")),
        ({"preprocessor_config": {"do_pad": True}}, ("do_pad", "false")),
        ({"preprocessor_config": {"image_processor_type": "SiglipImageProcessor"}}, ("image_processor_type", "CLIP")),
        ({"config": {"model_type": "siglip_vision_model"}}, ("model_type", "clip")),
        ({"preprocessor_config": {"do_center_crop": False}}, ("do_center_crop", "true")),
        ({"preprocessor_config": {"resample": 2}}, ("resample", "3")),
        ({"preprocessor_config": {"rescale_factor": 1.0}}, ("rescale_factor", "1/255")),
        ({"preprocessor_config": {"image_mean": [0.5]}}, ("image_mean", "three numbers")),
        ({"preprocessor_config": {"image_std": [0.5, 0.0, 0.5]}}, ("expected a number above 0",)),
        ({"config": {"hidden_act": "relu"}}, ("hidden_act", "quick_gelu or gelu")),
        ({"config": {"num_attention_heads": 5}}, ("num_attention_heads", "divisor")),
        ({"config": {"patch_size": 16}}, ("patch_size", "divisor")),
        ({"config": {"num_hidden_layers": 1}}, ("num_hidden_layers", "at least 2")),
        ({"config": {"num_hidden_layers": 5}}, ("16 missing", "vision_model.encoder.layers.4")),
        ({"config": {"intermediate_size": 111}}, ("mis-shaped", "expected 111x48")),
    ],
)
def test_a_folder_that_is_not_clip_as_glus_uses_it_is_named(tmp_path, changes, parts):
    with pytest.raises(CheckpointError) as caught:
        VisionTower.open(copied(tmp_path, **changes))
    for part in parts:
        assert part in str(caught.value), str(caught.value)


def test_the_second_part_of_a_whole_clips_first_release_outranks_the_first(tmp_path):
    path = copied(tmp_path)
    config = json.loads((path / "config.json").read_text())
    parts = {"vision_config": config | {"layer_norm_eps": 0.1}, "vision_config_dict": {"layer_norm_eps": 1e-5}}
    (path / "config.json").write_text(json.dumps({"model_type": "clip"} | parts))
    assert VisionTower.open(path).config == VisionTower.open(files.GOLDEN / "clip").config


def test_missing_files_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="--vision-tower"):
        VisionTower.open(tmp_path / "nowhere")
    path = copied(tmp_path)
    (path / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json: does not exist"):
        VisionTower.open(path)


def test_a_vision_model_as_transformers_5_saves_it_gives_the_same_tokens(tmp_path):
    path = copied(tmp_path)
    weights = torch.load(path / "pytorch_model.bin", weights_only=True)
    (path / "pytorch_model.bin").unlink()
    save_file(
        {name.removeprefix("vision_model."): tensor for name, tensor in weights.items()}, path / "model.safetensors"
    )
    settings = json.loads((path / "preprocessor_config.json").read_text())
    (path / "preprocessor_config.json").unlink()
    settings |= {"image_processor_type": "CLIPImageProcessorFast", "data_format": "channels_first", "do_pad": None}
    (path / "processor_config.json").write_text(
        json.dumps({"image_processor": settings, "processor_class": "CLIPProcessor"})
    )
    new, old = VisionTower.open(path), VisionTower.open(files.GOLDEN / "clip")
    assert new.image == old.image
    modules = [ClipEncoder.load(tower, golden_checkpoint()).state_dict() for tower in (new, old)]
    assert all(torch.equal(tensor, modules[1][name]) for name, tensor in modules[0].items())


def test_a_processor_file_without_pixels_is_named(tmp_path):
    path = copied(tmp_path)
    (path / "preprocessor_config.json").unlink()
    (path / "processor_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"processor_config\.json: image_processor: got nothing"):
        VisionTower.open(path)


@pytest.mark.parametrize("name", ["vision_model.encoder.layers.1.mlp.fc1.bias", "vision_model.pre_layrnorm.weight"])
def test_a_weight_that_is_not_finite_is_named(tmp_path, name):
    path = copied(tmp_path)
    weights = torch.load(path / "pytorch_model.bin", weights_only=True)
    weights[name][0] = float("inf")
    torch.save(weights, path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=f"{name}: holds NaN or infinity"):
        ClipEncoder.load(VisionTower.open(path), golden_checkpoint())
