import io
import json
import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer

from glus_edge.export.tokenizer.tokenizer import write_tokenizer
from glus_edge.runtime.bundle.manifest import PromptSettings
from glus_edge.runtime.errors import CheckpointError, GlusEdgeError
from glus_edge.runtime.language.conversation import Conversation

pytestmark = pytest.mark.torch

GOLDEN = Path(__file__).parents[2] / "data" / "golden_A"
META = json.loads((GOLDEN / "meta.json").read_text())
PROMPTS = META["runs"]["exp0"]["prompts_steps_0_to_6"]
SENTENCE = META["runs"]["exp0"]["target_obj_passed"]
TEXT = [
    "the red car that turns left behind a bus, then stops",
    "aaa aaaa aaaaaa ababab abab aabbaa aab baab bbb bbbb bbabab",
    "a person   walking    with two  dogs      and  a  cat; 2024 100 2000",
    "==== ======== -- ---- ------ ......",
] * 8


def train(**changes: Any) -> bytes:
    """A sentencepiece model made as LLaMA's was, with changes."""
    writer = io.BytesIO()
    options: dict[str, Any] = {
        "model_type": "bpe",
        "vocab_size": 400,
        "byte_fallback": True,
        "character_coverage": 0.9995,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "allow_whitespace_only_pieces": True,
        "split_digits": True,
        "hard_vocab_limit": False,
        "minloglevel": 2,
    }
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(TEXT), model_writer=writer, **options | changes)
    return writer.getvalue()


class Slow:
    """The rules of the slow tokenizer written once more, with a regular expression: the oracle."""

    def __init__(self, model: bytes) -> None:
        self.pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
        size = self.pieces.get_piece_size()
        self.ids = {"<unk>": 0, "<s>": 1, "</s>": 2, "[SEG]": size, "<im_start>": size + 1, "<im_end>": size + 2}
        stripping, keeping = ["[SEG]", "<im_start>", "<im_end>"], ["<unk>", "<s>", "</s>"]
        names = "|".join(map(re.escape, stripping))
        others = "|".join(map(re.escape, keeping))
        self.pattern = re.compile(rf"\s*({names})\s*|({others})")

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for number, part in enumerate(self.pattern.split(text)):
            if part:
                ids += self.pieces.encode(part) if number % 3 == 0 else [self.ids[part]]
        return ids


@cache
def fast(model: bytes) -> tuple[Tokenizer, PromptSettings]:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint_files(folder, model)
        settings = write_tokenizer(folder, folder / "tokenizer.json")
        return Tokenizer.from_file(str(folder / "tokenizer.json")), settings


def checkpoint_files(folder: Path, model: bytes) -> None:
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        shutil.copy(GOLDEN / "checkpoint" / name, folder / name)
    (folder / "tokenizer.model").write_bytes(model)
    size = sentencepiece.SentencePieceProcessor(model_proto=model).get_piece_size()
    added = {"[SEG]": size, "<im_start>": size + 1, "<im_end>": size + 2}
    (folder / "added_tokens.json").write_text(json.dumps(added))


@cache
def models() -> tuple[bytes, ...]:
    golden = (GOLDEN / "checkpoint" / "tokenizer.model").read_bytes()
    return golden, train(), train(byte_fallback=False, vocab_size=150)


# Python also strips the separators \x1c-\x1f, which no whitespace class of a regular expression in Rust holds; no
# prompt can bring one next to a stripping token.
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x1c\x1d\x1e\x1f"))
DENSE_TEXT = st.text("ab =-.1the sr\u2581\n")  # short alphabets reach the long merges and their ties
SENTENCES = (ANY_TEXT | DENSE_TEXT).filter(
    lambda text: not re.search(r"<image>|<im_|\[seg\]|<s>|</s>|<unk>", text, re.I)
)


def test_golden_prompts_have_the_reference_ids() -> None:
    tokenizer, prompt = fast(models()[0])
    expected = load_file(GOLDEN / "expected.safetensors")
    for run in ("exp0", "exp1", "exp0_segfail"):
        conversation = Conversation(META["runs"][run]["target_obj_passed"], prompt, tokenizer, context_frames=4)
        for step in range(14):
            pieces = conversation.text(min(step, 3)).pieces
            ids = np.concatenate([np.append(piece, -200) for piece in pieces])[:-1]
            row = expected[f"run/{run}/input_ids"][step]
            assert ids.tolist() == row[row != -1].tolist(), (run, step)


@pytest.mark.parametrize("step", [0, 1, 4])
def test_golden_tokens_are_the_reference_tokens(step: int) -> None:
    tokenizer, _ = fast(models()[0])
    ids = [tokenizer.encode(piece, add_special_tokens=False).ids for piece in PROMPTS[step].split("<image>")]
    tokens = [[tokenizer.id_to_token(number) for number in piece] for piece in ids]
    joined = ["<s>", *tokens[0], *(token for piece in tokens[1:] for token in ("<IMG>", *piece))]
    assert joined == META[f"tokens_exp0_step{step}"]


@pytest.mark.parametrize("model", range(3))
@settings(max_examples=300, deadline=None)
@given(SENTENCES, st.integers(0, 6))
def test_every_prompt_gets_the_ids_of_the_slow_tokenizer(model: int, sentence: str, step: int) -> None:
    tokenizer, _ = fast(models()[model])
    slow = Slow(models()[model])
    for piece in PROMPTS[step].replace(SENTENCE, sentence).split("<image>"):
        assert tokenizer.encode(piece, add_special_tokens=False).ids == slow.encode(piece)


@pytest.mark.parametrize("model", range(3))
@settings(max_examples=200, deadline=None)
@given(st.lists(ANY_TEXT | DENSE_TEXT | st.sampled_from([" [SEG]", "<im_start>\n", " </s>", "<s> ", "<im_end>"])))
def test_any_text_around_special_tokens_gets_the_ids_of_the_slow_tokenizer(model: int, parts: list[str]) -> None:
    text = "".join(parts)
    tokenizer, _ = fast(models()[model])
    assert tokenizer.encode(text, add_special_tokens=False).ids == Slow(models()[model]).encode(text)


@settings(max_examples=200, deadline=None)
@given(SENTENCES)
def test_text_without_special_tokens_gets_the_ids_of_transformers(text: str) -> None:
    tokenizer, _ = fast(models()[0])
    assert tokenizer.encode(text, add_special_tokens=False).ids == transformers_tokenizer().encode(
        text, add_special_tokens=False
    )


@cache
def transformers_tokenizer() -> Any:
    from transformers import LlamaTokenizer

    return LlamaTokenizer(str(GOLDEN / "checkpoint" / "tokenizer.model"), legacy=True)


def test_ids_come_from_the_checkpoint() -> None:
    _, golden = fast(models()[0])
    assert (golden.segment_token_id, golden.begin_token_id) == (448, 1)
    _, other = fast(models()[2])
    assert other.segment_token_id == sentencepiece.SentencePieceProcessor(model_proto=models()[2]).get_piece_size()


def test_a_further_added_token_is_reserved(tmp_path: Path) -> None:
    checkpoint_files(tmp_path, models()[0])
    path = tmp_path / "added_tokens.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"[PAD]": 451}))
    prompt = write_tokenizer(tmp_path, tmp_path / "tokenizer.json")
    assert "[PAD]" in prompt.reserved
    assert Tokenizer.from_file(str(tmp_path / "tokenizer.json")).token_to_id("[PAD]") == 451


def test_roles_that_no_file_names_are_the_usual_tokens_and_keep_their_spaces(tmp_path: Path) -> None:
    checkpoint_files(tmp_path, models()[0])
    (tmp_path / "special_tokens_map.json").unlink()
    (tmp_path / "tokenizer_config.json").write_text("{}")
    write_tokenizer(tmp_path, tmp_path / "tokenizer.json")
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in ("the </s> red <s>\n", "a [SEG] <unk> b"):
        assert tokenizer.encode(text, add_special_tokens=False).ids == Slow(models()[0]).encode(text)


def unreadable_piece() -> bytes:
    """A piece that is no UTF-8."""
    piece = "▁the".encode()
    assert piece in models()[0]
    return models()[0].replace(piece, b"\xff\xfe" + piece[2:], 1)


def saved_by_transformers(folder: Path, **settings: Any) -> None:
    """The golden tokenizer as a current transformers saves it: a fast one, without tokenizer.model."""
    from transformers import LlamaTokenizerFast

    LlamaTokenizerFast.from_pretrained(str(GOLDEN / "checkpoint"), **settings).save_pretrained(folder)
    for name in ("tokenizer.model", "added_tokens.json"):
        (folder / name).unlink(missing_ok=True)


def ids_of_prompts(folder: Path) -> list[list[int]]:
    """Of the golden prompts, by the tokenizer written from `folder`."""
    written = folder / "written.json"
    write_tokenizer(folder, written)
    tokenizer = Tokenizer.from_file(str(written))
    texts = [piece for step in (0, 1, 4) for piece in PROMPTS[step].split("<image>")]
    texts += ["a [SEG] b </s> c <s> d", "é 猫🐒"]
    return [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]


@cache
def golden_ids() -> list[list[int]]:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        checkpoint_files(Path(name), models()[0])
        return ids_of_prompts(Path(name))


@pytest.mark.parametrize("kept", [(), ("tokenizer_config.json",), ("special_tokens_map.json",)])
def test_tokenizer_json_gives_the_same_ids_with_few_files_beside_it(tmp_path: Path, kept: tuple[str, ...]) -> None:
    saved_by_transformers(tmp_path, legacy=True)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if name not in kept:
            (tmp_path / name).unlink()
    assert ids_of_prompts(tmp_path) == golden_ids()


def test_a_tokenizer_json_whose_spaces_are_made_before_the_cut_gives_the_same_ids(tmp_path: Path) -> None:
    saved_by_transformers(tmp_path, legacy=True)
    (tmp_path / "tokenizer_config.json").unlink()
    path = tmp_path / "tokenizer.json"
    values = json.loads(path.read_text())
    values["normalizer"] = None
    values["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    path.write_text(json.dumps(values))
    assert ids_of_prompts(tmp_path) == golden_ids()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": None}, "model"),
        ({"model": {"type": "WordLevel", "vocab": {"a": 0}}}, "BPE"),
        ({"model": {"type": "BPE", "vocab": {"<unk>": 0, "<s>": 1, "a": 5}, "fuse_unk": True, "merges": []}}, "gaps"),
        ({"model": {"type": "BPE", "vocab": {"<unk>": 0}, "byte_fallback": True, "merges": []}}, "has no <s>"),
        ({"normalizer": {"type": "NFKC"}}, "normalizer"),
        ({"pre_tokenizer": {"type": "ByteLevel"}, "normalizer": None}, "pre_tokenizer"),
        ({"decoder": {"type": "NoSuch"}}, "tokenizers library"),
    ],
)
def test_a_tokenizer_json_of_another_kind_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    saved_by_transformers(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(CheckpointError, match=re.escape(words)) as caught:
        write_tokenizer(tmp_path, tmp_path / "written.json")
    assert "\n" not in str(caught.value)
    assert "tokenizer.json" in str(caught.value)


def test_added_tokens_that_are_pieces_too_are_read(tmp_path: Path) -> None:
    checkpoint_files(tmp_path, models()[0])
    path = tmp_path / "added_tokens.json"
    path.write_text(json.dumps({"<unk>": 0, "<s>": 1, "</s>": 2} | json.loads(path.read_text())))
    assert ids_of_prompts(tmp_path) == golden_ids()


def test_a_slow_tokenizer_as_current_transformers_saves_it_gives_the_same_ids(tmp_path: Path) -> None:
    from transformers import LlamaTokenizer

    LlamaTokenizer.from_pretrained(str(GOLDEN / "checkpoint"), legacy=True).save_pretrained(tmp_path)
    (tmp_path / "added_tokens.json").unlink()
    assert "added_tokens_decoder" in json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert ids_of_prompts(tmp_path) == golden_ids()


RECORD = {"single_word": False, "special": True, "normalized": True}


def ids_around_segment(folder: Path) -> list[int]:
    write_tokenizer(folder, folder / "tokenizer.json")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids: list[int] = tokenizer.encode("a [SEG] b", add_special_tokens=False).ids
    return ids


def expected_around_segment(left: bool, right: bool) -> list[int]:
    plain = sentencepiece.SentencePieceProcessor(model_proto=models()[0])
    return [*plain.encode("a" if left else "a "), 448, *plain.encode("b" if right else " b")]


@pytest.mark.parametrize(
    ("file", "key"),
    [
        ("tokenizer_config.json", "additional_special_tokens"),
        ("special_tokens_map.json", "additional_special_tokens"),
        ("tokenizer_config.json", "extra_special_tokens"),
    ],
)
@pytest.mark.parametrize(("left", "right"), [(True, False), (False, True), (True, True), (False, False)])
def test_a_record_of_a_special_token_says_which_spaces_it_swallows(
    tmp_path: Path, file: str, key: str, left: bool, right: bool
) -> None:
    checkpoint_files(tmp_path, models()[0])
    record = RECORD | {"content": "[SEG]", "lstrip": left, "rstrip": right}
    edit(file, **{key: [record]})(tmp_path)
    assert ids_around_segment(tmp_path) == expected_around_segment(left, right)


@pytest.mark.parametrize(("left", "right"), [(True, False), (False, True), (True, True)])
def test_a_newer_record_that_names_a_side_is_followed(tmp_path: Path, left: bool, right: bool) -> None:
    checkpoint_files(tmp_path, models()[0])
    record = RECORD | {"content": "[SEG]", "lstrip": left, "rstrip": right}
    edit("tokenizer_config.json", added_tokens_decoder={"448": record})(tmp_path)
    assert ids_around_segment(tmp_path) == expected_around_segment(left, right)


def edit(name: str, **changes: Any) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return apply


def model(content: bytes) -> Callable[[Path], None]:
    return lambda folder: checkpoint_files(folder, content)


def tied() -> bytes:
    proto: Any = sentencepiece_model_pb2
    parsed = proto.ModelProto.FromString(models()[0])
    parsed.pieces[300].score = parsed.pieces[301].score
    content: bytes = parsed.SerializeToString()
    return content


def without_letter() -> bytes:
    proto: Any = sentencepiece_model_pb2
    parsed = proto.ModelProto.FromString(models()[0])
    for piece in parsed.pieces:
        if piece.piece == "h":
            piece.piece = "ħ"
    content: bytes = parsed.SerializeToString()
    return content


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "tokenizer.model").unlink(), "tokenizer.model"),
        (lambda folder: (folder / "tokenizer.model").write_bytes(b"no model"), "not a sentencepiece model"),
        (lambda folder: (folder / "tokenizer.model").write_bytes(b""), "is empty"),
        (lambda folder: (folder / "added_tokens.json").unlink(), "no [SEG]"),
        (lambda folder: (folder / "added_tokens.json").write_text("{"), "added_tokens.json"),
        (lambda folder: (folder / "added_tokens.json").write_text("[]"), "added_tokens.json"),
        (lambda folder: (folder / "added_tokens.json").write_text("{}"), "[SEG]"),
        (edit("added_tokens.json", **{"[SEG]": 500}), "consecutive"),
        (edit("added_tokens.json", **{"[SEG]": "x"}), "[SEG]"),
        (edit("tokenizer_config.json", legacy=False), "legacy"),
        (edit("tokenizer_config.json", add_bos_token=False), "add_bos_token"),
        (edit("tokenizer_config.json", add_eos_token=True), "add_eos_token"),
        (edit("special_tokens_map.json", eos_token="<end>"), "<end>"),
        (edit("special_tokens_map.json", eos_token=["</s>"]), "eos_token"),
        (edit("special_tokens_map.json", eos_token={"content": "</s>", "single_word": True}), "single_word"),
        (edit("special_tokens_map.json", additional_special_tokens=["[NONE]"]), "[NONE]"),
        (edit("tokenizer_config.json", add_prefix_space=False), "add_prefix_space"),
        (edit("tokenizer_config.json", do_lower_case=True), "do_lower_case"),
        (edit("tokenizer_config.json", added_tokens_decoder={"448": {"content": "[OTHER]"}}), "consecutive"),
        (edit("tokenizer_config.json", added_tokens_decoder={"7": {"content": "[SEG]"}}), "[SEG]"),
        (edit("tokenizer_config.json", added_tokens_decoder={"x": {"content": "[SEG]"}}), "added_tokens_decoder"),
        (edit("tokenizer_config.json", added_tokens_decoder=[]), "added_tokens_decoder"),
        (edit("added_tokens.json", **{"<s>": 5}), "<s>"),
        (edit("added_tokens.json", **{"a" * 30_000_000: 451}), "letters"),
        (edit("added_tokens.json", **{"": 451}), "letters"),
        (edit("added_tokens.json", **{"\ud800": 451}), "letters"),
        (lambda folder: (folder / "tokenizer.model").write_text("version https://git-lfs.github.com/spec/v1\n"), "LFS"),
        (lambda folder: model(unreadable_piece())(folder), "not a sentencepiece model"),
        (lambda folder: model(train(model_type="unigram", vocab_size=340))(folder), "model_type"),
        (lambda folder: model(train(normalization_rule_name="nmt_nfkc"))(folder), "precompiled_charsmap"),
        (lambda folder: model(train(remove_extra_whitespaces=True))(folder), "remove_extra_whitespaces"),
        (lambda folder: model(train(add_dummy_prefix=False))(folder), "add_dummy_prefix"),
        (lambda folder: model(train(user_defined_symbols=["[SEG]"]))(folder), "piece types"),
        (lambda folder: model(tied())(folder), "same score"),
        (lambda folder: model(without_letter())(folder), "no piece itself"),
    ],
)
def test_a_tokenizer_that_cannot_be_reproduced_is_refused_in_one_line(
    tmp_path: Path, damage: Callable[[Path], None], words: str
) -> None:
    checkpoint_files(tmp_path, models()[0])
    damage(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        write_tokenizer(tmp_path, tmp_path / "tokenizer.json")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "tokenizer.json").exists()
    assert isinstance(caught.value, GlusEdgeError)
