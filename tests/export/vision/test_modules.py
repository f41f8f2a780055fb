"""The torch modules against what the reference computed, one stage at a time, each stage on the reference's own input."""

import cv2
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from glus_edge.export.checkpoint.checkpoint import Checkpoint
from glus_edge.export.checkpoint.vision_tower import VisionTower
from glus_edge.export.vision.mask_decoder import select_mask
from glus_edge.export.vision.memory_attention import INPUT_POSITION_WEIGHT
from glus_edge.export.vision.modules import load_modules
from glus_edge.runtime.bundle.manifest import MemorySettings
from glus_edge.runtime.pixels.preprocess import clip_pixels, sam_pixels
from glus_edge.runtime.policies.memory_rule import attended_steps
from tests.export import checkpoint_files as files

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def expected():
    return load_file(files.GOLDEN / "expected.safetensors")


@pytest.fixture(scope="module")
def frames():
    paths = sorted((files.GOLDEN / "frames").glob("*.png"))
    return [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in paths]


def load(reference_gamma=False):
    checkpoint = Checkpoint.open(files.GOLDEN / "checkpoint")
    tower = VisionTower.open(files.GOLDEN / "clip")
    return load_modules(checkpoint, tower, str(files.SAM2_YAML), reference_gamma)


@pytest.fixture(scope="module")
def modules():
    return load()


def statistics(tensor):
    """As the golden files hold it: mean, standard deviation, the first 64 values."""
    values = tensor.numpy().ravel().astype(np.float64)
    return np.concatenate([[values.mean(), values.std()], values[:64]])


def test_image_tokens_of_every_frame_are_the_references(modules, expected, frames):
    pixels = np.stack([clip_pixels(frame, modules.clip_image) for frame in frames])
    with torch.inference_mode():
        tokens = modules.clip_encoder(torch.from_numpy(pixels)).numpy()
    np.testing.assert_allclose(tokens, expected["frame/image_tokens"], atol=2e-5)


def test_feature_maps_of_every_frame_are_the_references(modules, expected, frames):
    for index, frame in enumerate(frames):
        with torch.inference_mode():
            features = modules.image_encoder(torch.from_numpy(sam_pixels(frame, modules.sam_image))[None])
        for tensor, key in zip(features, ("hires0", "hires1", "fpn2"), strict=False):
            np.testing.assert_allclose(statistics(tensor), expected[f"frame/{key}_stats"][index], atol=1e-5)


@pytest.mark.parametrize("run", ["exp0", "exp1", "exp0_gammareset", "exp1_gammareset", "exp0_nomem"])
def test_every_stage_of_the_tracker_is_the_references(modules, expected, frames, run):
    if run.endswith("gammareset"):
        modules = load(reference_gamma=True)
    golden = {
        key.removeprefix(f"run/{run}/"): value for key, value in expected.items() if key.startswith(f"run/{run}/")
    }
    chosen = set()
    for step, frame in enumerate(golden["frame_index"]):
        with torch.inference_mode():
            features = modules.image_encoder(torch.from_numpy(sam_pixels(frames[frame], modules.sam_image))[None])
            steps = attended_steps(step, MemorySettings()) if "maskmem" in golden else ()
            conditioned = features.features_without_memory
            if steps:
                memory = torch.from_numpy(golden["maskmem"][list(steps)])[:, None]
                conditioned = modules.memory_attention(features.features_stride_16, memory)
            np.testing.assert_allclose(conditioned[0], golden["attended"][step], atol=1e-4)
            conditioned = torch.from_numpy(golden["attended"][step])[None]
            prompt = torch.from_numpy(golden["seg_embed"][step])[None]
            prediction = modules.mask_decoder(
                conditioned, features.features_stride_8, features.features_stride_4, prompt
            )
            np.testing.assert_allclose(prediction.mask_logits[0], golden["low_res_masks"][step], atol=2e-4)
            np.testing.assert_allclose(prediction.all_predicted_iou[0], golden["all_iou"][step], atol=1e-5)
            np.testing.assert_allclose(prediction.object_score, golden["object_score_logits"][step], atol=1e-5)
            assert prediction.selected_mask.item() == golden["selected_mask"][step]
            chosen.add(prediction.selected_mask.item())
            if "maskmem" in golden:
                logits = torch.from_numpy(golden["low_res_masks"][step])[None]
                slot = modules.memory_encoder(conditioned, logits)
                np.testing.assert_allclose(slot[0], golden["maskmem"][step], atol=1e-4)
    assert len(chosen) > 1 or run != "exp0"


@pytest.mark.parametrize("step", [0, 5])
def test_all_four_masks_are_the_references(modules, expected, frames, step):
    frame = expected["run/exp0/frame_index"][step]
    with torch.inference_mode():
        features = modules.image_encoder(torch.from_numpy(sam_pixels(frames[frame], modules.sam_image))[None])
        conditioned = torch.from_numpy(expected["run/exp0/attended"][step])[None]
        prompt = torch.from_numpy(expected["run/exp0/seg_embed"][step])[None]
        prediction = modules.mask_decoder(conditioned, features.features_stride_8, features.features_stride_4, prompt)
    np.testing.assert_allclose(prediction.all_mask_logits[0], expected[f"debug/exp0_step{step}_all_masks"], atol=2e-4)


def test_whole_maps_of_the_first_frame_are_the_references(modules, expected):
    with torch.inference_mode():
        features = modules.image_encoder(torch.from_numpy(expected["frame0/sam_input"])[None])
    for tensor, key in zip(features, ("hires0", "hires1", "fpn2"), strict=False):
        np.testing.assert_allclose(tensor[0], expected[f"frame0/{key}"], atol=1e-5)


def test_constants_are_the_references(modules, expected):
    np.testing.assert_allclose(modules.mask_decoder.dense_positions[0], expected["const/dense_pe"], atol=1e-6)
    for positions, key in (
        (modules.memory_attention.positions / INPUT_POSITION_WEIGHT, "fpn2_pos"),
        (modules.memory_attention.memory_positions, "maskmem_pos"),
    ):
        np.testing.assert_allclose(positions.T.reshape(-1, 8, 8), expected[f"const/{key}"], atol=1e-6)


def test_a_batch_of_sentences_gives_what_each_gives_alone(modules, expected):
    features = torch.randn(1, 64, 8, 8)
    memory = torch.from_numpy(expected["run/exp0/maskmem"][:6]).unflatten(0, (2, 3))
    with torch.inference_mode():
        together = modules.memory_attention(features, memory)
        alone = [modules.memory_attention(features, memory[:, row : row + 1]) for row in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)


def test_the_order_of_memory_slots_does_not_matter(modules, expected):
    features = torch.randn(1, 64, 8, 8)
    memory = torch.from_numpy(expected["run/exp0/maskmem"][:7])[:, None]
    with torch.inference_mode():
        torch.testing.assert_close(
            modules.memory_attention(features, memory),
            modules.memory_attention(features, memory[[3, 0, 6, 5, 1, 2, 4]]),
            rtol=1e-4,
            atol=1e-5,
        )


@pytest.mark.parametrize(
    ("inside", "edge", "ious", "number"),
    [
        (100, 0, [0.1, 0.2, 0.9, 0.3], 0),  # stable
        (98, 2, [0.1, 0.2, 0.9, 0.3], 0),  # exactly at the threshold
        (97, 3, [0.1, 0.2, 0.9, 0.3], 2),
        (97, 3, [0.9, 0.2, 0.1, 0.3], 3),
        (0, 0, [0.1, 0.2, 0.9, 0.3], 0),  # empty: stable by definition
        (0, 1, [0.1, 0.8, 0.8, 0.8], 1),  # a tie goes to the first
    ],
)
def test_the_stability_rule_chooses_between_the_single_mask_and_the_best_other(inside, edge, ious, number):
    masks = torch.full((1, 4, 10, 20), -5.0)
    masks[0, 0].view(-1)[:inside] = 5.0
    masks[0, 0].view(-1)[inside : inside + edge] = 0.0
    for mask in (1, 2, 3):
        masks[0, mask] = mask
    chosen = select_mask(masks, torch.tensor([ious]))
    assert chosen.number.tolist() == [number]
    assert torch.equal(chosen.logits[:, 0], masks[:, number])
    assert chosen.iou.tolist() == pytest.approx([ious[number]])
