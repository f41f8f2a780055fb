import pytest
import torch

from glus_edge.export.checkpoint.checkpoint import Checkpoint
from glus_edge.export.parity.language_reference import LanguageReference
from tests.export.language_golden import DIMENSIONS, GOLDEN, expected, relative_l2, step_embeddings

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def reference() -> LanguageReference:
    return LanguageReference(Checkpoint.open(GOLDEN / "checkpoint"), DIMENSIONS)


@pytest.mark.parametrize("step", [0, 5])
def test_hidden_states_are_the_references_at_every_position(reference: LanguageReference, step: int) -> None:
    embeddings = expected()[f"debug/exp0_step{step}_inputs_embeds"]
    hidden = reference.forward(torch.from_numpy(embeddings)[None]).hidden[0].numpy()
    assert relative_l2(hidden, expected()[f"debug/exp0_step{step}_last_hidden_all"]) <= 1e-6


@pytest.mark.parametrize("run", ["exp0", "exp1"])
def test_segment_embedding_and_next_token_are_the_references(reference: LanguageReference, run: str) -> None:
    for step in range(14):
        outputs = reference.forward(torch.from_numpy(step_embeddings(run, step))[None])
        assert relative_l2(outputs.segment_embedding[0].numpy(), expected()[f"run/{run}/seg_embed"][step]) <= 1e-5
        assert outputs.next_token.tolist() == [expected()[f"run/{run}/next_token"][step]]


def test_sentences_of_a_batch_do_not_see_each_other(reference: LanguageReference) -> None:
    rows = torch.from_numpy(step_embeddings("exp0", 0))
    pair = torch.stack([rows, rows.flip(0)])
    together = reference.forward(pair).hidden
    alone = torch.cat([reference.forward(each[None]).hidden for each in pair])
    assert torch.allclose(together, alone, atol=1e-5)


def test_a_sequence_filled_up_at_the_end_answers_from_its_own_last_row(reference: LanguageReference) -> None:
    rows = torch.from_numpy(step_embeddings("exp0", 0))
    short = rows[:-7]
    filled = torch.stack([rows, torch.cat([short, torch.ones_like(rows[-7:])])])
    together = reference.forward(filled, lengths=[len(rows), len(short)])
    for number, alone in enumerate((rows, short)):
        expected_embedding = reference.forward(alone[None]).segment_embedding[0]
        assert torch.allclose(together.segment_embedding[number], expected_embedding, atol=1e-5)
