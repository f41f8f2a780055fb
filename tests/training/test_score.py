import json
from pathlib import Path

import pytest
import torch

from glus_edge.training.checkpoint import save_official
from glus_edge.training.data.batch import make_batch
from glus_edge.training.gradient_step import train_step
from glus_edge.training.learner import Learner, build_learner
from glus_edge.training.model.attention import plain_attention_everywhere
from glus_edge.training.optimizer import stage_optimizer
from glus_edge.training.packing import pack, unpack
from glus_edge.training.score import score_frames, score_step, validate_scores
from glus_edge.training.state_file import load_model, save_state
from glus_edge.training.train import train
from tests.training.official import load_official
from tests.training.tiny import tiny_settings, tiny_stage

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("one_thread")]

STAGE = tiny_stage("score", 1)


def one_step(learner: Learner) -> None:
    settings = tiny_settings(STAGE)
    with plain_attention_everywhere():
        train_step(learner, stage_optimizer(learner, settings, 0), make_batch(3, STAGE.mix(0)), STAGE, 0, 1.0)


def test_all_but_the_score_rests(learner: Learner) -> None:
    before = {name: tensor.clone() for name, tensor in learner.glus.state_dict().items()}
    one_step(learner)
    for name, tensor in learner.glus.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(p.grad is None for p in learner.glus.parameters())
    assert all(p.requires_grad for p in learner.glus.parameters())
    assert all(p.grad is not None for p in learner.score.parameters())
    assert learner.score.trained


def test_the_token_begins_where_the_answer_is_gathered(learner: Learner) -> None:
    batch = make_batch(3, STAGE.mix(0))
    score_step(learner, batch)
    space = learner.tokenizer.encode("Sure, the segmentation result is ")[-1]
    assert torch.equal(learner.score.embedding, learner.glus.model.embed_tokens.weight[space])


def test_a_score_does_not_depend_on_the_sentences_beside_it(learner: Learner) -> None:
    """Padding and the batch leave no trace: what the runtime asks sentence by sentence is what was trained."""
    from dataclasses import replace

    batch = make_batch(3, tiny_stage("score", 1).mix(0))
    longer = tuple((f"{texts[0]}", "the large striped purple triangle that stops") for texts in batch.texts)
    with torch.no_grad():
        both = score_frames(learner, replace(batch, texts=longer))
        alone = score_frames(
            learner,
            replace(batch, texts=tuple(t[:1] for t in longer), targets=batch.targets[:, :1]),
        )
    torch.testing.assert_close(both.score[:1], alone.score[:1], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(both.iou[:1], alone.iou[:1])


def test_validation_trains_nothing_and_says_what_choosing_brings(learner: Learner) -> None:
    found = validate_scores(learner, [make_batch(5, STAGE.mix(0))])
    assert not learner.score.trained
    assert set(found) == {"score/agreement", "score/order", "score/first_iou", "score/chosen_iou"}
    assert found["score/agreement"] <= 1.0


def test_the_checkpoint_gets_the_token_behind_all_others(learner: Learner, tmp_path: Path) -> None:
    one_step(learner)
    save_official(tmp_path, learner.glus, learner.tower, learner.sizes, learner.tokenizer, learner.score)
    added = json.loads((tmp_path / "checkpoint" / "added_tokens.json").read_text())
    count = learner.tokenizer.vocabulary
    assert added["[SCORE]"] == count
    assert json.loads((tmp_path / "checkpoint" / "config.json").read_text())["vocab_size"] == count + 1
    state = torch.load(tmp_path / "checkpoint" / "pytorch_model.bin", weights_only=True)
    assert torch.equal(state["model.embed_tokens.weight"][count], learner.score.embedding)
    assert torch.equal(state["model.embed_tokens.weight"][:count], learner.glus.model.embed_tokens.weight)
    assert torch.equal(state["lm_head.weight"][count], state["lm_head.weight"][0])
    assert state["model.score_fcs.0.4.weight"].shape[0] == 1
    _, _, _, tokenizer = load_official(tmp_path)
    assert tokenizer.vocabulary == count + 1


def test_a_state_from_before_the_score_can_be_gone_on_from(learner: Learner, tmp_path: Path) -> None:
    save_state(tmp_path / "state.pt", learner, None, {"stage": 1, "step": 0, "best": 0.0, "seconds": 0.0})
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    del state["score"]
    torch.save(state, tmp_path / "state.pt")
    other = build_learner(tiny_settings())
    load_model(tmp_path / "state.pt", other)
    assert not other.score.trained
    train(tmp_path, tiny_settings(tiny_stage("tower", 1), tiny_stage("score", 1)))
    load_model(tmp_path / "state.pt", other)
    assert other.score.trained


def test_a_packed_score_comes_back(learner: Learner, tmp_path: Path) -> None:
    one_step(learner)
    pack(learner, {}, tmp_path)
    other = build_learner(tiny_settings())
    unpack(tmp_path, other)
    assert other.score.trained
    torch.testing.assert_close(other.score.embedding, learner.score.embedding, atol=1e-3, rtol=1e-3)
