"""The library's own LLaMA, built from config.json and streamed: the reference's answers, and its reading of settings."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from glus_edge.export.checkpoint.checkpoint import Checkpoint
from glus_edge.export.parity.llama import LlamaReference, llama_config
from glus_edge.runtime.errors import CheckpointError
from tests.export import checkpoint_files as files
from tests.export.language_golden import GOLDEN, expected, relative_l2, step_embeddings

pytestmark = pytest.mark.torch

CONFIG = GOLDEN / "checkpoint" / "config.json"


def reference() -> LlamaReference:
    return LlamaReference(CONFIG, Checkpoint.open(GOLDEN / "checkpoint"), scores_frames=False)


@pytest.mark.parametrize("step", [0, 5])
def test_hidden_states_are_the_references_at_every_position(step: int) -> None:
    embeddings = expected()[f"debug/exp0_step{step}_inputs_embeds"]
    hidden = reference().forward(torch.from_numpy(embeddings)[None]).hidden[0].numpy()
    assert relative_l2(hidden, expected()[f"debug/exp0_step{step}_last_hidden_all"]) <= 1e-6


def test_segment_embedding_and_next_token_are_the_references() -> None:
    llama = reference()
    for step in range(4):
        outputs = llama.forward(torch.from_numpy(step_embeddings("exp0", step))[None])
        assert relative_l2(outputs.segment_embedding[0].numpy(), expected()["run/exp0/seg_embed"][step]) <= 1e-5
        assert outputs.next_token.tolist() == [expected()["run/exp0/next_token"][step]]


def test_a_sequence_filled_up_at_the_end_answers_from_its_own_last_row() -> None:
    rows = torch.from_numpy(step_embeddings("exp0", 0))
    filled = torch.stack([rows, torch.cat([rows[:-7], torch.ones_like(rows[-7:])])])
    together = reference().forward(filled, lengths=[len(rows), len(rows) - 7])
    for number, alone in enumerate((rows, rows[:-7])):
        embedding = reference().forward(alone[None]).segment_embedding[0]
        assert torch.allclose(together.segment_embedding[number], embedding, atol=1e-5)


def test_weights_are_dropped_after_use_and_every_matrix_is_observed() -> None:
    seen: list[str] = []
    checkpoint = Checkpoint.open(GOLDEN / "checkpoint")
    llama = LlamaReference(CONFIG, checkpoint, False, lambda name, rows: seen.append(name))
    llama.forward(torch.from_numpy(step_embeddings("exp0", 0))[None])
    assert all(parameter.is_meta for parameter in llama._llama.parameters())
    assert len(seen) == len(set(seen)) == 3 * 7 + 3  # of three layers, lm_head and text_hidden_fcs
    assert {"model.layers.2.mlp.down_proj.weight", "lm_head.weight", "model.text_hidden_fcs.0.2.weight"} < set(seen)


@pytest.mark.parametrize(
    "changes",
    [
        {"rope_theta": 5e5},
        {"rope_theta": None, "rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}},
        {"rope_parameters": {"rope_theta": 5e5}},
        {"rope_scaling": {"rope_theta": 5e5, "rope_type": "default"}},
        {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 1.0}},
    ],
)
def test_the_base_of_the_rotary_positions_is_the_librarys_reading(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(files.golden_config() | changes))
    assert llama_config(path).rope_theta == 5e5
    llama = LlamaReference(path, Checkpoint.open(GOLDEN / "checkpoint"), scores_frames=False)
    rows = torch.from_numpy(step_embeddings("exp0", 0))[None]
    assert relative_l2(llama.forward(rows).hidden.numpy(), reference().forward(rows).hidden.numpy()) > 1e-2


@pytest.mark.parametrize("changes", [{"hidden_act": "no_such"}, {"num_attention_heads": 0}, {"hidden_size": "x"}])
def test_what_the_library_refuses_is_one_line(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(files.golden_config() | changes))
    with pytest.raises(CheckpointError, match=r"config\.json: transformers builds no LLaMA from it") as caught:
        LlamaReference(path, Checkpoint.open(GOLDEN / "checkpoint"), scores_frames=False)
    assert "\n" not in str(caught.value)
