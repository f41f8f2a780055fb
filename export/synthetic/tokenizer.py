"""A tokenizer of LLaMA's kind made on the spot: sentencepiece BPE with byte fallback, and the tokens GLUS adds."""

import io
import json
from pathlib import Path
from typing import Any

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from glus_edge.runtime.bundle.manifest import PromptSettings

_PROTOCOL: Any = sentencepiece_model_pb2
NORMAL = 1  # SentencePiece.Type
LEARNT_PIECES = 800  # at most; the rest of the vocabulary is filled with pieces no text contains
SENTENCES = (
    "the red ball moving to the right",
    "the person on the left who turns around and walks away from the camera",
    "a small dog running behind the bicycle",
    "two birds flying over the water, the second from the top",
    "the white car that stops first",
    "cat playing with a blue toy near the window",
)


def write_synthetic_tokenizer(folder: Path, pieces: int, added_tokens: tuple[str, ...]) -> None:
    """Write tokenizer.model with exactly `pieces` pieces, and the three files LlamaTokenizer saves beside it."""
    (folder / "tokenizer.model").write_bytes(_filled(_trained(pieces), pieces))
    _write(folder / "added_tokens.json", {token: pieces + number for number, token in enumerate(added_tokens)})
    roles = {role: _record(token) for role, token in (("bos", "<s>"), ("eos", "</s>"), ("unk", "<unk>"))}
    special = {f"{role}_token": record for role, record in roles.items()}
    _write(folder / "special_tokens_map.json", special | {"pad_token": "<unk>"})
    _write(
        folder / "tokenizer_config.json",
        {f"{role}_token": {"__type": "AddedToken"} | record for role, record in roles.items()}
        | {
            "add_bos_token": True,
            "add_eos_token": False,
            "clean_up_tokenization_spaces": False,
            "legacy": True,
            "model_max_length": 512,
            "pad_token": None,
            "padding_side": "right",
            "sp_model_kwargs": {},
            "tokenizer_class": "LlamaTokenizer",
        },
    )


def _trained(pieces: int) -> bytes:
    prompt = PromptSettings(segment_token_id=0, begin_token_id=0)
    lines = (prompt.system, prompt.context_request.strip(), prompt.question.strip(), prompt.answer, "USER: ASSISTANT:")
    writer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*lines, *SENTENCES]),
        model_writer=writer,
        model_type="bpe",
        vocab_size=min(pieces, LEARNT_PIECES),
        hard_vocab_limit=False,
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        split_digits=True,
        minloglevel=2,
    )
    return writer.getvalue()


def _filled(content: bytes, pieces: int) -> bytes:
    model = _PROTOCOL.ModelProto.FromString(content)
    lowest = min(piece.score for piece in model.pieces)
    for number in range(len(model.pieces), pieces):
        # Private-use characters around a number: nothing ever merges into such a piece.
        model.pieces.add(piece=f"\ue000{number}\ue001", score=lowest - 1 - number, type=NORMAL)
    model.trainer_spec.vocab_size = pieces
    filled: bytes = model.SerializeToString()
    return filled


def _record(token: str) -> dict[str, object]:
    return {"content": token, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
