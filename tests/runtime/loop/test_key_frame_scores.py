"""[SCORE] from checkpoint to key frame: the golden checkpoint with the token and a head of random weights."""

import json

import numpy as np
import pytest
import torch

from glus_edge.export.checkpoint.checkpoint import Checkpoint
from glus_edge.export.parity.language_reference import LanguageReference
from glus_edge.runtime.errors import CheckpointError
from glus_edge.runtime.policies.key_frame import MOST_CANDIDATES, candidate_frames
from glus_edge.runtime.segmenter import Segmenter
from tests.conftest import export_golden
from tests.export import checkpoint_files as files
from tests.runtime import golden

pytestmark = pytest.mark.torch
SENTENCES = [golden.sentence("exp0"), golden.sentence("exp1")]


def with_score(path, *, token=True):
    weights, config = files.golden_weights(), files.golden_config()
    draw = torch.Generator().manual_seed(5)
    for step, shape in ((0, (64, 64)), (2, (64, 64)), (4, (1, 64))):
        weights[f"model.score_fcs.0.{step}.weight"] = torch.randn(shape, generator=draw) / 8
        weights[f"model.score_fcs.0.{step}.bias"] = torch.randn(shape[:1], generator=draw)
    if token:
        for name in ("model.embed_tokens.weight", "lm_head.weight"):
            weights[name] = torch.cat((weights[name], weights[name][:1]))
        config["vocab_size"] += 1
    files.single_bin(path, weights, config)
    if token:
        added = json.loads((path / "added_tokens.json").read_text())
        (path / "added_tokens.json").write_text(json.dumps({**added, "[SCORE]": config["vocab_size"] - 1}))
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return with_score(tmp_path_factory.mktemp("score") / "checkpoint")


@pytest.fixture(scope="module")
def bundle(checkpoint, golden_bundle, tmp_path_factory):
    return export_golden(tmp_path_factory.mktemp("score") / "bundle", checkpoint=checkpoint)


@pytest.fixture(scope="module")
def segmenter(bundle):
    with Segmenter.open(bundle) as opened:
        yield opened


def asked(segmenter):
    """A run whose context frames are read."""
    run = segmenter.segment(golden.FRAMES, SENTENCES)
    run._read_context()
    return run


def scores(run):
    found = []
    for index in range(len(run)):
        run._batch.shared.tokens.add(run.video.read(index))
        found.append(run._batch.score(index))
    return np.stack(found)


def test_the_manifest_says_so_and_how_near_to_torch_it_is(segmenter, golden_bundle):
    manifest = segmenter.bundle.manifest
    assert manifest.model.scores_frames
    assert "[SCORE]" in manifest.prompt.reserved
    assert "frame_score" in {entry.output for entry in manifest.graphs["language_model"].parity}
    with Segmenter.open(golden_bundle) as without:
        assert not without.bundle.manifest.model.scores_frames


def test_scores_are_those_torch_computes_from_whole_prompts(segmenter, checkpoint):
    run = asked(segmenter)
    batch, model = run._batch, segmenter.bundle.manifest.model
    reference = LanguageReference(Checkpoint.open(checkpoint), model)
    table = segmenter.bundle.token_embedding()[:]
    run._batch.shared.tokens.add(run.video.read(3))
    got = batch.score(3)
    for sentence, rows in enumerate(batch.prompts.score_rows([*run.context_frames, 3])):
        assert rows[-1] == model.vocabulary_size - 1
        embedded = [
            table[row]
            if row >= 0
            else batch.shared.tokens.tokens(-(row + 1) // model.image_tokens)[-(row + 1) % model.image_tokens]
            for row in rows.tolist()
        ]
        wanted = reference.forward(torch.from_numpy(np.stack(embedded)[None]))
        assert wanted.frame_score is not None
        assert got[sentence] == pytest.approx(float(wanted.frame_score[0]), abs=1e-4)


def test_the_frame_of_the_highest_score_is_the_key_frame(segmenter):
    everything = scores(asked(segmenter))
    assert everything.std() > 0
    run = segmenter.segment(golden.FRAMES, SENTENCES, key_frame="auto")
    assert run.key_frame == int(everything.mean(1).argmax())
    assert sorted(result.index for result in run) == list(range(len(run)))


def test_masks_are_those_of_the_model_without_it(segmenter):
    for result in segmenter.segment(golden.FRAMES, SENTENCES):
        for place, name in enumerate(("exp0", "exp1")):
            assert golden.iou(result.masks[place], golden.expected_masks(name)[result.index]) >= 0.999


def test_scoring_leaves_the_answers_that_follow_as_they_are(segmenter):
    plain = [result.masks for result in segmenter.segment(golden.FRAMES, SENTENCES, key_frame=4)]
    run = segmenter.segment(golden.FRAMES, SENTENCES, key_frame=4)
    run._read_context()
    scores(run)
    for result, masks in zip(run, plain, strict=True):
        assert (result.masks == masks).all()


def test_a_head_without_its_token_is_refused(tmp_path, golden_bundle):
    checkpoint = with_score(tmp_path / "checkpoint", token=False)
    with pytest.raises(CheckpointError, match=r"has a head for \[SCORE\] and no such token"):
        export_golden(tmp_path / "bundle", checkpoint=checkpoint)


def test_a_reserved_token_is_none_of_a_sentence(segmenter):
    from glus_edge.runtime.errors import InputError

    with pytest.raises(InputError, match=r"reserved token \[SCORE\]"):
        segmenter.segment(golden.FRAMES, ["the [SCORE]"])


def test_of_a_short_video_every_frame_is_a_candidate_and_of_a_long_one_some():
    assert candidate_frames(14, (2, 5, 9, 12)) == tuple(range(14))
    some = candidate_frames(1000, (125, 375, 625, 875))
    assert {0, 125, 375, 625, 875, 999} <= set(some)
    assert MOST_CANDIDATES <= len(some) <= MOST_CANDIDATES + 4
    assert list(some) == sorted(some)
