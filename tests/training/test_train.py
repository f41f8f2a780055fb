import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from glus_edge.runtime.errors import InputError
from glus_edge.training.checkpoint import save_official
from glus_edge.training.data.batch import make_batch
from glus_edge.training.gradient_step import train_step
from glus_edge.training.learner import Learner, build_learner
from glus_edge.training.model.attention import plain_attention_everywhere
from glus_edge.training.model.sam2 import memory_steps
from glus_edge.training.optimizer import TrainingOptimizer, stage_optimizer
from glus_edge.training.packing import LARGEST_FILE_BYTES, begin_run, pack, unpack
from glus_edge.training.settings import STAGES, stages_from_text
from glus_edge.training.train import train
from tests.training.official import load_official
from tests.training.tiny import tiny_settings, tiny_stage

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("one_thread")]


@pytest.mark.parametrize("kind", ["tower", "masks", "ground", "joint", "score"])
def test_a_handful_of_steps_lowers_the_loss(learner: Learner, kind: str) -> None:
    stage = tiny_stage(kind, 8)
    optimizer = stage_optimizer(learner, tiny_settings(stage), 0)
    batch = make_batch(3, stage.mix(0))
    with plain_attention_everywhere():
        losses = [sum(train_step(learner, optimizer, batch, stage, i, 1.0).values()) for i in range(8)]
    assert losses[-1] < 0.9 * losses[0]


def test_every_trained_part_gets_a_gradient_end_to_end(learner: Learner) -> None:
    stage = tiny_stage("joint", 1)
    with plain_attention_everywhere():
        train_step(learner, TrainingOptimizer(learner, tiny_settings()), make_batch(3, stage.mix(0)), stage, 0, 1.0)
    for part in ("mm_projector", "text_hidden_fcs", "memory_encoder", "memory_attention", "layers.0", "trunk"):
        grads = [p.grad for n, p in learner.glus.named_parameters() if part in n and p.grad is not None]
        assert grads, part
        assert any(bool(g.abs().sum() > 0) for g in grads), part


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tiny_settings(tiny_stage("tower", 4))
    train(tmp_path / "whole", settings)

    def stop_at_two(*arguments: Any) -> dict[str, float]:
        if arguments[4] == 2:
            raise KeyboardInterrupt
        return train_step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("glus_edge.training.train.train_step", stop_at_two)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "halves", settings)
    train(tmp_path / "halves", settings)
    whole, halves = (torch.load(tmp_path / n / "state.pt", weights_only=True) for n in ("whole", "halves"))
    for name, tensor in whole["tower"].items():
        torch.testing.assert_close(tensor, halves["tower"][name])


def test_a_run_whose_grounding_collapses_goes_back_to_its_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter((0.9, 0.4, 0.8))
    monkeypatch.setattr("glus_edge.training.train.validate", lambda *_: {"place/all": next(found)})
    seen: list[torch.Tensor] = []

    def watched(learner: Learner, *arguments: Any) -> dict[str, float]:
        seen.append(learner.glus.model.mm_projector.weight.detach().clone())
        return train_step(learner, *arguments)

    monkeypatch.setattr("glus_edge.training.train.train_step", watched)
    train(tmp_path, replace(tiny_settings(tiny_stage("ground", 3)), validate_every=1))
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log if "event" in line] == [2]
    _, second, third = seen
    assert torch.equal(second, third)  # the second step is undone
    assert not torch.equal(
        second, torch.load(tmp_path / "state.pt", weights_only=True)["glus"]["model.mm_projector.weight"]
    )


def test_gradients_are_the_mean_of_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = tiny_stage("masks", 1)
    batch = make_batch(3, stage.mix(0))

    def gradient() -> torch.Tensor:
        learner = build_learner(tiny_settings())
        train_step(learner, stage_optimizer(learner, tiny_settings(stage), 0), batch, stage, 0, 1e9)
        found = learner.sam.no_mem_embed.grad
        assert found is not None
        return found

    def add_another(flat: torch.Tensor) -> None:
        flat += 3.0 * flat

    alone = gradient()
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_reduce", add_another)  # the other process found three times as much
    torch.testing.assert_close(gradient(), 2.0 * alone)


def test_a_run_of_other_stages_is_not_gone_on_with(tmp_path: Path) -> None:
    train(tmp_path, tiny_settings(tiny_stage("masks", 1)))
    with pytest.raises(InputError, match="got --stages joint, expected masks, as it was begun"):
        train(tmp_path, tiny_settings(tiny_stage("joint", 1)))


def test_a_run_begins_with_the_weights_of_another(learner: Learner, tmp_path: Path) -> None:
    begin_run(learner, tmp_path)
    with pytest.raises(InputError, match="got a folder with a run in it"):
        begin_run(learner, tmp_path)
    train(tmp_path, tiny_settings(tiny_stage("tower", 1)))  # which leaves all but the tower as it was
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["place"]["stage"] == 1
    for name, tensor in learner.glus.state_dict().items():
        torch.testing.assert_close(state["glus"][name], tensor)


@pytest.mark.parametrize("text", ["", "joint:", "joint:0", "joint:-1", "outline:5", "ground,,joint", "ground joint"])
def test_stages_that_do_not_exist_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(InputError, match=r"stages: got .*, expected NAME or NAME:STEPS"):
        stages_from_text(text)


def test_stages_are_named_with_other_numbers_of_steps() -> None:
    ground, joint = stages_from_text("ground,joint:600")
    assert ground in STAGES
    assert joint == replace(next(stage for stage in STAGES if stage.name == "joint"), steps=600)


def test_a_run_logs_its_curves_and_ends_in_the_official_format(tmp_path: Path) -> None:
    train(tmp_path, tiny_settings(tiny_stage("ground", 2)))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "text" in line] == [1, 2]
    assert any("place/all" in line.get("validation", {}) for line in lines)
    glus, _, _, tokenizer = load_official(tmp_path)
    assert glus.sizes.vocabulary == tokenizer.vocabulary


def test_a_checkpoint_round_trips_under_its_official_names(learner: Learner, tmp_path: Path) -> None:
    save_official(tmp_path, learner.glus, learner.tower, learner.sizes, learner.tokenizer, learner.score)
    state = torch.load(tmp_path / "checkpoint" / "pytorch_model.bin", weights_only=True)
    for name in (
        "model.embed_tokens.weight",
        "model.layers.0.self_attn.rotary_emb.inv_freq",
        "model.mm_projector.bias",
        "model.text_hidden_fcs.0.2.weight",
        "model.visual_model.sam_mask_decoder.conv_s0.weight",
        "model.visual_model.memory_encoder.fuser.layers.0.gamma",
        "lm_head.weight",
    ):
        assert name in state
    glus, tower, sizes, _ = load_official(tmp_path)
    assert sizes == learner.sizes
    for name, tensor in learner.glus.state_dict().items():
        torch.testing.assert_close(glus.state_dict()[name], tensor)
    for name, tensor in learner.tower.state_dict().items():
        torch.testing.assert_close(tower.state_dict()[name], tensor)


def test_a_packed_state_is_small_and_comes_back_at_half_precision(learner: Learner, tmp_path: Path) -> None:
    pack(learner, {"stage": 1, "step": 5}, tmp_path)
    assert all(path.stat().st_size <= LARGEST_FILE_BYTES + 200_000 for path in tmp_path.iterdir())
    other = build_learner(replace(tiny_settings(), seed=9))
    assert unpack(tmp_path, other) == {"stage": 1, "step": 5}
    weight = "model.mm_projector.weight"
    torch.testing.assert_close(other.glus.state_dict()[weight], learner.glus.state_dict()[weight], atol=1e-3, rtol=1e-3)


def test_memory_steps_are_the_reference_schedule() -> None:
    assert [memory_steps(t) for t in (0, 1, 4, 5, 20)] == [[], [0], [0, 3], [0, 3, 4], [3, 6, 9, 12, 15, 18, 19]]


def test_kinds_of_sentences_are_mixed_in_little_by_little() -> None:
    ground = next(stage for stage in STAGES if stage.name == "ground")
    motion = [dict(ground.mix(step).shares)["motion"] for step in (0, ground.ramp_steps // 2, ground.ramp_steps)]
    assert motion == sorted(motion)
    assert motion[0] < 0.2 < motion[2]
