"""The whole journey, frames and a sentence to masks, against what the reference computed on the same checkpoint."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file

from glus_edge.runtime import Scores, Segmenter, open_video
from glus_edge.runtime.bundle.bundle import read_manifest, sha256
from glus_edge.runtime.loop.propagation import Propagation
from tests.runtime import golden

pytestmark = pytest.mark.torch  # the bundle is exported first


@pytest.fixture(scope="module")
def segmenter(golden_bundle):
    with Segmenter.open(golden_bundle) as opened:
        yield opened


@pytest.mark.parametrize("run", ["exp0", "exp1"])
def test_every_stage_of_every_frame_is_the_references(segmenter, monkeypatch, run):
    outputs, expected = golden.record(monkeypatch), golden.expected(run)
    pass_ = segmenter.segment(golden.FRAMES, [golden.sentence(run)])
    results = list(pass_)
    assert list(pass_.context_frames) == expected["context_index"].tolist()
    assert [result.index for result in results] == expected["frame_index"].tolist()
    for step, result in enumerate(results):
        assert golden.relative_l2(outputs["segment_embedding"][step][0], expected["seg_embed"][step]) <= 1e-4
        assert golden.relative_l2(outputs["mask_logits"][step][0], expected["low_res_masks"][step]) <= 1e-3
        assert golden.relative_l2(outputs["memory_slot"][step][0], expected["maskmem"][step]) <= 1e-3
        if step:  # at step 0 the bank is empty and memory attention does not run
            conditioned = outputs["conditioned_features"][step - 1][0]
            assert golden.relative_l2(conditioned, expected["attended"][step]) <= 1e-3
        assert result.scores[0].selected_mask == expected["selected_mask"][step]
        assert result.scores[0].object_score == pytest.approx(expected["object_score_logits"][step, 0], abs=1e-3)
        assert golden.iou(result.masks[0], golden.expected_masks(run)[step]) >= 0.999


def test_each_frame_passes_each_encoder_once(segmenter, monkeypatch):
    outputs = golden.record(monkeypatch)
    frames = len(list(segmenter.segment(golden.FRAMES, ["a thing", "another thing"], key_frame=5)))
    assert frames == 14
    assert len(outputs["features_stride_16"]) == frames
    # a context frame's tokens are kept for when it is asked about; the rest are computed when it is their turn
    assert len(outputs["image_tokens"]) == frames


@pytest.mark.parametrize("sentences", [["exp0", "exp1"], ["exp1", "exp0"]])
def test_sentences_asked_together_get_the_masks_they_get_alone(segmenter, sentences):
    together = list(segmenter.segment(golden.FRAMES, [golden.sentence(run) for run in sentences]))
    for place, run in enumerate(sentences):
        for result, wanted in zip(together, golden.expected_masks(run), strict=True):
            assert golden.iou(result.masks[place], wanted) >= 0.999


def test_sentences_of_very_different_length_get_the_masks_they_get_alone(segmenter):
    sentences = ["it", "the second of the three large animals that walk from the left to the right behind the fence"]
    together = list(segmenter.segment(golden.FRAMES, sentences))
    for place, sentence in enumerate(sentences):
        for one, both in zip(segmenter.segment(golden.FRAMES, [sentence]), together, strict=True):
            assert golden.iou(one.masks[0], both.masks[place]) >= 0.999


@pytest.mark.parametrize("key_frame", [1, 5, 13])
def test_a_run_from_a_key_frame_is_one_run_each_way_that_begins_with_it(segmenter, key_frame):
    pass_ = segmenter.segment(golden.FRAMES, ["a thing"], key_frame=key_frame)
    results = {result.index: result.masks[0] for result in pass_}
    assert sorted(results) == list(range(14))
    for order in (range(key_frame, 14), range(key_frame, -1, -1)):
        batch, video = segmenter._batch(["a thing"], "exact"), open_video(golden.FRAMES)
        batch.shared.tokens.pin(frozenset(pass_.context_frames))
        for index in pass_.context_frames:
            batch.shared.tokens.add(video.read(index))
        batch.shared.read_context(pass_.context_frames)
        propagation = Propagation(batch)
        for index in order:
            assert golden.iou(propagation.step(video.read(index)).masks[0], results[index]) >= 0.999


@pytest.mark.parametrize("policy", ["window", "rolling"])
def test_other_policies_agree_with_exact_until_a_turn_is_dropped(segmenter, policy):
    exact = list(segmenter.segment(golden.FRAMES, ["a thing"]))
    other = list(segmenter.segment(golden.FRAMES, ["a thing"], policy=policy))
    for step in range(4):
        assert golden.iou(other[step].masks[0], exact[step].masks[0]) >= 0.999
    assert any(not np.array_equal(a.masks, b.masks) for a, b in zip(exact[4:], other[4:], strict=True))


@pytest.fixture(scope="module")
def failing_segmenter(golden_bundle, tmp_path_factory):
    """The golden bundle with the reference's `segfail` row in lm_head: at some steps the answer is not [SEG]."""
    from glus_edge.export.checkpoint.checkpoint import Checkpoint
    from glus_edge.export.language.graph import write_language_model

    class Failing(Checkpoint):
        def tensor(self, name):
            tensor = super().tensor(name)
            if name == "lm_head.weight":
                import torch

                tensor = tensor.clone()
                row = load_file(golden.GOLDEN / "expected.safetensors")["extra/segfail_lm_head_row"]
                tensor[golden.META["seg_token_id"]] = torch.from_numpy(row)
            return tensor

    folder = tmp_path_factory.mktemp("segfail") / "bundle"
    shutil.copytree(golden_bundle, folder)
    model = read_manifest(folder).model
    write_language_model(
        Failing.open(golden.GOLDEN / "checkpoint"), model, folder / "language_model.onnx", "float32", "fp32"
    )
    document = json.loads((folder / "manifest.json").read_text())
    for entry in (document["graphs"]["language_model"][part] for part in ("graph", "data")):
        path = folder / entry["file"]
        entry["sha256"], entry["size_bytes"] = sha256(path), path.stat().st_size
    (folder / "manifest.json").write_text(json.dumps(document))
    with Segmenter.open(folder) as opened:
        yield opened


def test_a_frame_without_seg_has_an_empty_mask_says_so_and_leaves_no_memory(failing_segmenter):
    expected, masks = golden.expected("exp0_segfail"), golden.expected_masks("exp0_segfail")
    results = list(failing_segmenter.segment(golden.FRAMES, [golden.sentence("exp0_segfail")]))
    assert [result.scores[0].segmented for result in results] == expected["ok"].astype(bool).tolist()
    for result, wanted in zip(results, masks, strict=True):
        assert golden.iou(result.masks[0], wanted) >= 0.999
        if not result.scores[0].segmented:
            assert result.scores[0] == Scores(None, None, False, None)
            assert not result.masks.any()


def test_sentences_that_fail_at_different_frames_do_not_disturb_each_other(failing_segmenter):
    sentences = [golden.sentence("exp0_segfail"), golden.sentence("exp1"), "it"]
    alone = [list(failing_segmenter.segment(golden.FRAMES, [sentence])) for sentence in sentences]
    together = list(failing_segmenter.segment(golden.FRAMES, sentences))
    patterns = {tuple(result.scores[0].segmented for result in results) for results in alone}
    assert len(patterns) > 1
    for step, result in enumerate(together):
        for place, results in enumerate(alone):
            assert result.scores[place].segmented == results[step].scores[0].segmented
            assert golden.iou(result.masks[place], results[step].masks[0]) >= 0.999


@pytest.mark.parametrize("run", ["exp0_gammareset", "exp1_gammareset"])
def test_the_references_own_gamma_gives_the_masks_of_its_script(golden_bundle_reference_gamma, monkeypatch, run):
    outputs, expected = golden.record(monkeypatch), golden.expected(run)
    with Segmenter.open(golden_bundle_reference_gamma) as opened:
        results = list(opened.segment(golden.FRAMES, [golden.sentence(run)]))
    for step, (result, wanted) in enumerate(zip(results, golden.expected_masks(run), strict=True)):
        assert golden.relative_l2(outputs["memory_slot"][step][0], expected["maskmem"][step]) <= 1e-3
        assert golden.iou(result.masks[0], wanted) >= 0.999


@pytest.mark.parametrize("run", ["exp0", "exp1"])
def test_half_precision_keeps_the_masks(golden_bundle_fp16, run):
    """Frames on which the stability rule chooses another of the four masks are counted apart: none on this clip."""
    expected, masks = golden.expected(run), golden.expected_masks(run)
    with Segmenter.open(golden_bundle_fp16) as opened:
        results = list(opened.segment(golden.FRAMES, [golden.sentence(run)]))
    same = [result.scores[0].selected_mask == expected["selected_mask"][step] for step, result in enumerate(results)]
    ious = [golden.iou(result.masks[0], wanted) for result, wanted in zip(results, masks, strict=True)]
    assert sum(same) == len(results)
    assert np.mean(ious) >= 0.99


def test_a_four_bit_language_model_runs_and_stays_near_on_weights_that_are_not_trained(golden_bundle_int4, monkeypatch):
    outputs, expected = golden.record(monkeypatch), golden.expected("exp0")
    with Segmenter.open(golden_bundle_int4) as opened:
        results = list(opened.segment(golden.FRAMES, [golden.sentence("exp0")]))
    assert all(result.scores[0].segmented for result in results)
    assert golden.relative_l2(outputs["segment_embedding"][0][0], expected["seg_embed"][0]) < 0.6
