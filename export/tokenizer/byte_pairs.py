"""tokenizer.json alone: the byte-pair vocabulary of a LLaMA-style tokenizer whose tokenizer.model is not there."""

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from glus_edge.export.checkpoint.json_file import JsonObject
from glus_edge.export.tokenizer.sentence_pieces import LONGEST_PIECE, SPACE
from glus_edge.runtime.errors import CheckpointError

_KIND = "a byte-pair model as LLaMA's tokenizer has"
# A space becomes the sign, and one is put in front: as a normalizer, or as a pre-tokenizer that does not split.
_NORMALIZER = {
    "type": "Sequence",
    "normalizers": [
        {"type": "Prepend", "prepend": SPACE},
        {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
    ],
}
_PREFIXING = ("first", "always")


class BytePairs:
    """See `vocabulary.Vocabulary`; merges are those of the file."""

    def __init__(self, file: JsonObject) -> None:
        self._file = file
        model = file.child("model")
        if model is None:
            raise file.error("model", _KIND)
        self._check_model(model)
        self._check_spaces()
        self._vocabulary = self._read_vocabulary(model)
        self._pieces = {number: piece for piece, number in self._vocabulary.items()}
        self._merges = self._read_merges(model)
        self.byte_fallback = bool(model.values.get("byte_fallback"))
        self.size = len(self._vocabulary)
        self.unknown_id, self.begin_id, self.end_id = (self._id(token) for token in ("<unk>", "<s>", "</s>"))
        self._plain = self._library_tokenizer()

    @classmethod
    def read(cls, path: Path) -> "BytePairs":
        """Read tokenizer.json. Raises CheckpointError when it is damaged, hostile or not LLaMA-style."""
        return cls(JsonObject.read(path))

    def piece(self, number: int) -> str:
        """The piece of an id."""
        return self._pieces[number]

    def encode(self, text: str) -> list[int]:
        """Ids of a text without special tokens, as the file's own settings give them."""
        return list(self._plain.encode(text, add_special_tokens=False).ids)

    def vocabulary(self) -> dict[str, int]:
        """Every piece and its id."""
        return dict(self._vocabulary)

    def merges(self) -> list[tuple[str, str]]:
        """Pairs of pieces that join, best first."""
        return list(self._merges)

    def _check_model(self, model: JsonObject) -> None:
        model.require("type", ("BPE",), _KIND)
        model.require("dropout", (0,), "the same text has the same tokens")
        model.require("ignore_merges", (False,), _KIND)
        model.require("unk_token", ("<unk>",), _KIND)
        if not model.values.get("byte_fallback"):
            model.require("fuse_unk", (True,), _KIND)
        for key in ("continuing_subword_prefix", "end_of_word_suffix"):
            model.require(key, ("",), _KIND)

    def _check_spaces(self) -> None:
        normalizer, splitter = (self._file.values.get(key) for key in ("normalizer", "pre_tokenizer"))
        if normalizer == _NORMALIZER and splitter is None:
            return
        if normalizer is not None:
            raise self._file.error("normalizer", f"Prepend {SPACE} and Replace, or null and Metaspace, as LLaMA has")
        metaspace = {"type": "Metaspace", "replacement": SPACE, "split": False}
        if not isinstance(splitter, dict) or splitter | metaspace != splitter:
            raise self._file.error("pre_tokenizer", "Metaspace without a split, or null and a normalizer, as LLaMA has")
        if splitter.get("prepend_scheme") not in _PREFIXING:
            raise self._file.error("pre_tokenizer", "prepend_scheme first or always: GLUS was trained with the prefix")

    def _read_vocabulary(self, model: JsonObject) -> dict[str, int]:
        values = model.child("vocab")
        pieces: dict[str, int] = values.values if values is not None else {}
        ids = [number for number in pieces.values() if type(number) is int]
        if sorted(ids) != [*range(len(pieces))]:
            raise CheckpointError(f"{self._file.path}: vocab: got ids with gaps or twice, expected 0, 1, 2 and so on")
        if (odd := next((piece for piece in pieces if not _is_text(piece)), None)) is not None:
            raise CheckpointError(
                f"{self._file.path}: vocab: got the piece {odd[:40]!a}, expected text of 1 to {LONGEST_PIECE} letters"
            )
        return dict(pieces)

    def _read_merges(self, model: JsonObject) -> list[tuple[str, str]]:
        merges: list[tuple[str, str]] = []
        listed = model.values.get("merges")
        for merge in listed if isinstance(listed, list) else ():
            pair = merge.split(" ") if isinstance(merge, str) else merge
            known = isinstance(pair, list) and len(pair) == 2 and all(isinstance(side, str) for side in pair)
            if not known or not {pair[0], pair[1], pair[0] + pair[1]} <= self._vocabulary.keys():
                raise CheckpointError(
                    f"{self._file.path}: merges: got {ascii(merge)[:60]}, expected two pieces whose join is a piece; "
                    "use the tokenizer files saved with the GLUS checkpoint"
                )
            merges.append((pair[0], pair[1]))
        return merges

    def _id(self, token: str) -> int:
        if token not in self._vocabulary:
            raise CheckpointError(f"{self._file.path}: vocab: has no {token}, expected {_KIND}")
        return self._vocabulary[token]

    def _library_tokenizer(self) -> Tokenizer:
        """As `tokenizers` itself reads the file, without added tokens, of which texts to encode hold none."""
        alone: dict[str, Any] = {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
        try:
            return Tokenizer.from_str(json.dumps(self._file.values | alone))
        except Exception as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise CheckpointError(
                f"{self._file.path}: is no tokenizer of the tokenizers library ({first[:160]}); copy it again"
            ) from error


def _is_text(piece: str) -> bool:
    """Whether a piece is of a length that some text may hold, without unpaired surrogates."""
    return 0 < len(piece) <= LONGEST_PIECE and not any("\ud800" <= letter <= "\udfff" for letter in piece)
