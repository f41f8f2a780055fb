"""A tokenizer.json that would fill the memory, or is of another kind, is refused before a text is given to it."""

import json
from typing import Any

import pytest

from glus_edge.runtime.bundle.shipped import shipped_bundle
from glus_edge.runtime.bundle.tokenizer_check import check_tokenizer
from glus_edge.runtime.utils.schema import SchemaError

SHIPPED = (shipped_bundle() / "tokenizer.json").read_bytes()
DOCUMENT: dict[str, Any] = json.loads(SHIPPED)


def replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


@pytest.mark.parametrize(
    "normalizer",
    [
        replace({"String": "a"}, "a" * 1000),
        replace({"Regex": ""}, "a" * 100_000),
        {"type": "Prepend", "prepend": "x" * 5000},
        {"type": "Sequence", "normalizers": [replace({"String": "a"}, "aaa")] * 40},
        {
            "type": "Sequence",
            "normalizers": [{"type": "Sequence", "normalizers": [replace({"Regex": "."}, "aa")] * 4}] * 4,
        },
    ],
    ids=["string", "expression", "prepend", "often", "nested"],
)
def test_a_normalizer_that_grows_text_is_refused(normalizer: dict[str, Any]) -> None:
    with pytest.raises(SchemaError, match=r"got a normalizer that makes a text \d+ times as long"):
        check_tokenizer(json.dumps(DOCUMENT | {"normalizer": normalizer}).encode())


@pytest.mark.parametrize("kind", ["WordLevel", "WordPiece", None, 3])
def test_a_model_of_another_kind_is_refused(kind: object) -> None:
    with pytest.raises(SchemaError, match="got a model .*, expected BPE or Unigram"):
        check_tokenizer(json.dumps(DOCUMENT | {"model": DOCUMENT["model"] | {"type": kind}}).encode())


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"[" * 100_000, b'{"model": 3}'])
def test_what_is_no_tokenizer_is_refused(content: bytes) -> None:
    with pytest.raises(SchemaError):
        check_tokenizer(content)


@pytest.mark.parametrize("normalizer", [None, {"type": "NFKC"}, DOCUMENT["normalizer"]], ids=["none", "nfkc", "llama"])
def test_tokenizers_of_checkpoints_are_taken(normalizer: dict[str, Any] | None) -> None:
    check_tokenizer(json.dumps(DOCUMENT | {"normalizer": normalizer}).encode())
    check_tokenizer(SHIPPED)
