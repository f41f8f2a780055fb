import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from glus_edge.runtime.bundle.manifest import PromptSettings
from glus_edge.runtime.errors import InputError
from glus_edge.runtime.language.conversation import (
    Conversation,
    check_sentence,
    expression_from_sentence,
    image_rows,
    rows_from_prompt,
)

GOLDEN = Path(__file__).parents[2] / "data" / "golden_A"
META = json.loads((GOLDEN / "meta.json").read_text())


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    from glus_edge.export.tokenizer.tokenizer import write_tokenizer

    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    settings = write_tokenizer(GOLDEN / "checkpoint", path)
    return settings, Tokenizer.from_file(str(path))


@pytest.mark.torch
@pytest.mark.parametrize("run", ["exp0", "exp1"])
def test_prompts_are_the_references_at_every_step(tokenizer, run):
    settings, encoder = tokenizer
    expected = load_file(GOLDEN / "expected.safetensors")
    conversation = Conversation(META["runs"][run]["target_obj_passed"], settings, encoder, 4)
    ids, lengths = expected[f"run/{run}/input_ids"], expected[f"run/{run}/input_len"]
    for step in range(len(lengths)):
        text = conversation.text(min(step, 3))
        joined = list(text.pieces[0])
        for piece in text.pieces[1:]:
            joined += [-200, *piece]
        assert joined == ids[step, : lengths[step]].tolist()
        rows = rows_from_prompt(text, list(range(text.image_count)), 4)
        assert len(rows) == expected[f"run/{run}/seq_len"][step]


def test_rows_of_different_frames_never_meet_each_other_or_a_token():
    frames = [image_rows(frame, 64) for frame in range(50)]
    every = np.concatenate(frames)
    assert len(np.unique(every)) == len(every)
    assert (every < 0).all()


@pytest.mark.parametrize(
    ("sentence", "expression"),
    [("The Dog.", "the dog"), ("the dog..", "the dog."), ("a.b", "a.b"), (" the dog . ", " the dog . "), (".", "")],
)
def test_one_full_stop_goes_and_letters_become_small(sentence, expression):
    assert expression_from_sentence(sentence) == expression


@pytest.mark.parametrize("sentence", ["", " ", ".", "\t\n", "the <image> dog", "a [SEG]", "</s>", "<S>", "\ud800"])
def test_a_sentence_that_says_nothing_or_breaks_the_prompt_is_refused(sentence):
    with pytest.raises(InputError, match="sentence: got"):
        check_sentence(sentence, PromptSettings(3, 1))
