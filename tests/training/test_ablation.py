from dataclasses import replace
from pathlib import Path

import pytest
import torch

from glus_edge.runtime.errors import InputError
from glus_edge.training.ablation import ABLATIONS, WHOLE, Ablation
from glus_edge.training.data.batch import Batch, make_batch
from glus_edge.training.learner import Learner, build_learner
from glus_edge.training.model.attention import plain_attention_everywhere
from glus_edge.training.steps import joint_step, run_language, run_masks, tower_pass
from glus_edge.training.train import train
from tests.training.tiny import tiny_settings, tiny_stage

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("one_thread")]


def without(name: str) -> Learner:
    return build_learner(replace(tiny_settings(), ablation=name))


def a_batch() -> Batch:
    return make_batch(3, tiny_stage("joint", 1).mix(0))


def test_each_row_has_one_part_more_than_the_one_before() -> None:
    counts = [sum(vars(ablation).values()) for ablation in ABLATIONS.values()]
    assert counts == [0, 1, 2, 3]
    assert ABLATIONS[WHOLE] == Ablation()


def test_losses_of_what_is_left_out_are_left_out() -> None:
    with plain_attention_everywhere():
        assert {"contrast", "track"} <= set(joint_step(without(WHOLE), a_batch()))
        assert not {"contrast", "track"} & set(joint_step(without("per-frame"), a_batch()))


def test_context_frames_matter_only_where_they_are_shown() -> None:
    batch = a_batch()
    frames = batch.frames.clone()
    frames[:, :4] = 255 - frames[:, :4]
    other = replace(batch, frames=frames)
    for name, same in (("per-frame", True), ("context", False)):
        learner = without(name)
        with torch.no_grad(), plain_attention_everywhere():
            first, second = (
                run_language(learner, each, tower_pass(learner, each, frozen=True)).open_hidden
                for each in (batch, other)
            )
        assert torch.equal(first, second) == same


def test_earlier_frames_masks_matter_only_with_a_memory() -> None:
    batch = a_batch()
    for name, same in (("context", True), ("memory", False)):
        learner = without(name)
        prompts = torch.randn(2, 4, learner.sam.hidden_dim)
        changed = prompts.clone()
        changed[:, 0] = -changed[:, 0]
        with torch.no_grad():
            first, second = (run_masks(learner, batch, each, training=True)[1].logits for each in (prompts, changed))
        assert torch.equal(first, second) == same


def test_a_run_goes_on_as_the_row_it_was_begun_as(tmp_path: Path) -> None:
    settings = tiny_settings(tiny_stage("masks", 1), tiny_stage("ground", 2))
    train(tmp_path, replace(settings, stages=settings.stages[:1]))
    train(tmp_path, replace(settings, ablation="memory"))  # the schools are the same for all
    with pytest.raises(InputError, match="got --ablation contrastive, expected memory, as it was begun"):
        train(tmp_path, settings)
