"""The tokens that are cut out of a prompt before sentencepiece sees it, from the files beside tokenizer.model."""

from pathlib import Path
from typing import NamedTuple

from glus_edge.export.checkpoint.json_file import JsonObject
from glus_edge.export.tokenizer.sentence_pieces import SentencePieces
from glus_edge.runtime.errors import CheckpointError

_FIX = "use the tokenizer files saved with the GLUS checkpoint"
_ROLES = (("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>"), ("pad_token", None))
_SETTINGS: tuple[tuple[str, object], ...] = (
    ("legacy", True),
    ("add_bos_token", True),
    ("add_eos_token", False),
    ("sp_model_kwargs", {}),
)


class SpecialToken(NamedTuple):
    """A token that no text around it is ever merged with."""

    content: str
    id: int
    strips: bool  # swallows the whitespace on both its sides


def special_tokens(folder: Path, pieces: SentencePieces) -> list[SpecialToken]:
    """Special and added tokens in order of their ids.

    As transformers 4.31 reads them: a token strips unless a record says lstrip = rstrip = false;
    special_tokens_map.json outranks tokenizer_config.json, whose bare strings, like the usual ones where it is silent,
    become such records.
    Raises CheckpointError for settings GLUS was not trained with and for ids that do not follow the pieces'.
    """
    config = JsonObject.read(folder / "tokenizer_config.json")
    for key, expected in _SETTINGS:
        config.require(key, (expected,), "GLUS was trained with it")
    added = JsonObject.read(folder / "added_tokens.json")
    ids = {"<unk>": pieces.unknown_id, "<s>": pieces.begin_id, "</s>": pieces.end_id}
    ids |= {content: added.integer(content) for content in added.values}
    _check_ids(added, ids, pieces.size)

    record_path = folder / "special_tokens_map.json"
    outranking = JsonObject.read(record_path).values if record_path.exists() else {}
    kept = set()
    for role, usual in _ROLES:
        record = outranking.get(role, config.values.get(role, usual))
        content = record.get("content") if isinstance(record, dict) else record
        if content is None:
            continue
        if not isinstance(content, str) or content not in ids:
            raise CheckpointError(f"{folder}: {role}: got {str(content)[:60]!r}, expected one of {sorted(ids)}; {_FIX}")
        if isinstance(record, dict):
            left, right = bool(record.get("lstrip")), bool(record.get("rstrip"))
            if left != right:
                raise CheckpointError(f"{folder}: {role}: strips on one side only, expected both or none; {_FIX}")
            if not left:
                kept.add(content)
        elif role not in outranking:
            kept.add(content)
    return sorted((SpecialToken(content, number, content not in kept) for content, number in ids.items()), key=_id)


def _check_ids(added: JsonObject, ids: dict[str, int], first: int) -> None:
    numbers = sorted(number for number in ids.values() if number >= first)
    if numbers != list(range(first, first + len(added.values))):
        raise CheckpointError(f"{added.path}: got ids {numbers}, expected consecutive ids from {first}; {_FIX}")
    for needed in ("[SEG]", "<im_start>", "<im_end>"):
        if needed not in ids:
            raise CheckpointError(f"{added.path}: no {needed} in {sorted(ids)}, expected the tokens GLUS adds; {_FIX}")


def _id(token: SpecialToken) -> int:
    return token.id
