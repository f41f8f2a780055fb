from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from glus_edge.export.tokenizer.tokenizer import write_tokenizer
from glus_edge.runtime.language.conversation import Conversation
from glus_edge.training.data.batch import Mix, make_batch
from glus_edge.training.learner import Learner
from glus_edge.training.model.attention import plain_attention_everywhere
from glus_edge.training.model.prompt import prefix_ids, turn_sequences
from glus_edge.training.model.tokenizer import NanoTokenizer, train_tokenizer
from glus_edge.training.steps import run_language, tower_pass
from tests.runtime import golden

pytestmark = pytest.mark.torch
TOKENS = 4  # per image, in the golden runs


def collapsed(ids: list[int]) -> list[int]:
    """Image tokens back to one placeholder per image, as the reference records its prompts."""
    return [-200 if i < 0 else i for n, i in enumerate(ids) if i >= 0 or (-i - 1) % TOKENS == 0]


def test_the_tokenizer_is_the_same_every_time() -> None:
    assert train_tokenizer() == train_tokenizer()


@pytest.mark.parametrize("step", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("run", ["exp0", "exp1"])
def test_the_open_end_of_every_turn_stands_where_the_reference_prompt_ends(run: str, step: int) -> None:
    tokenizer = NanoTokenizer((golden.GOLDEN / "checkpoint" / "tokenizer.model").read_bytes())
    turns = turn_sequences(tokenizer, [golden.sentence(run).lower()], TOKENS)
    end = int(turns.open_rows[0, min(step, 3)])
    seen = [i for i in range(end + 1) if not turns.branch[0, i] or i == end]
    recorded = golden.expected(run)["input_ids"][step]
    ours = collapsed(prefix_ids(tokenizer, TOKENS).tolist()) + collapsed(turns.ids[0, seen].tolist())
    assert ours == recorded[recorded != -1].tolist()
    assert turns.positions[0, seen].tolist() == list(range(len(seen)))


def test_one_pass_over_a_window_gives_what_inference_computes_turn_by_turn(learner: Learner) -> None:
    batch = make_batch(3, Mix(videos=1, sentences=2, shares=(("appearance", 1.0),)))
    glus = learner.glus.eval()
    with torch.no_grad(), plain_attention_everywhere():
        tokens = tower_pass(learner, batch, frozen=True)
        together = run_language(learner, batch, tokens).open_hidden
        image = glus.model.mm_projector(tokens)[0]
        t = tokens.shape[2]
        for s, sentence in enumerate(batch.texts[0]):
            turns = turn_sequences(learner.tokenizer, [sentence], t)
            for turn in range(4):
                end = int(turns.open_rows[0, turn])
                seen = [i for i in range(end + 1) if not turns.branch[0, i] or i == end]
                rows = [(i, 0) for i in prefix_ids(learner.tokenizer, t).tolist()]
                rows += [(i, 4) for i in turns.ids[0, seen].tolist()]
                flat = [
                    glus.model.embed_tokens.weight[i] if i >= 0 else image[first + (-i - 1) // t, (-i - 1) % t]
                    for i, first in rows
                ]
                hidden = glus.run_language(torch.stack(flat)[None], torch.arange(len(flat))[None], None, None).final
                torch.testing.assert_close(hidden[0, -1], together[s, turn], atol=1e-4, rtol=1e-4)


def test_without_context_frames_the_prompt_is_the_one_the_runtime_asks(tmp_path: Path) -> None:
    prompt = write_tokenizer(golden.GOLDEN / "checkpoint", tmp_path / "tokenizer.json")
    conversation = Conversation("the dog", prompt, Tokenizer.from_file(str(tmp_path / "tokenizer.json")), 0)
    first, _ = conversation.text(0).pieces
    tokenizer = NanoTokenizer((golden.GOLDEN / "checkpoint" / "tokenizer.model").read_bytes())
    assert [*prefix_ids(tokenizer, TOKENS, context=False), tokenizer.image_start] == first.tolist()
