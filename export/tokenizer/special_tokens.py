"""The tokens that are cut out of a prompt before the vocabulary sees it, from the files beside it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from glus_edge.export.checkpoint.json_file import JsonObject
from glus_edge.export.tokenizer.vocabulary import Vocabulary
from glus_edge.runtime.errors import CheckpointError

NEEDED = ("[SEG]", "<im_start>", "<im_end>")  # of every prompt
LONGEST_TOKEN = 256  # letters
_FIX = "use the tokenizer files saved with the GLUS checkpoint"
_ROLES = (("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>"), ("pad_token", None))
_SETTINGS: tuple[tuple[str, object], ...] = (
    ("legacy", True),
    ("add_bos_token", True),
    ("add_eos_token", False),
    ("add_prefix_space", True),
    ("do_lower_case", False),
    ("split_special_tokens", False),
    ("sp_model_kwargs", {}),
)


class SpecialToken(NamedTuple):
    """A token that no text around it is ever merged with."""

    content: str
    id: int
    lstrip: bool  # swallows the whitespace before it
    rstrip: bool  # swallows the whitespace behind it


class _Record(NamedTuple):
    """What a file says of a token; None: nothing."""

    content: str
    id: int | None
    lstrip: bool | None
    rstrip: bool | None


def special_tokens(folder: Path, pieces: Vocabulary) -> list[SpecialToken]:
    """Special and added tokens in order of their ids.

    Ids are those of added_tokens.json and of tokenizer_config.json's added_tokens_decoder, or else those of tokenizer.json.
    Whitespace is that of transformers 4.31, which GLUS was trained with: a token swallows it on both its sides unless a
    record of it as a special token says otherwise; special_tokens_map.json outranks tokenizer_config.json, whose bare
    strings, like the usual ones where it is silent, become records that keep it.
    Records of newer versions (added_tokens_decoder, tokenizer.json) count where they name a side. That they name none is
    what these versions write of every token they took over, the trained ones too. `normalized` has no effect: the text is
    cut before it is normalised.
    Raises CheckpointError for settings GLUS was not trained with and for ids that do not follow the pieces'.
    """
    config = _read_if_there(folder / "tokenizer_config.json")
    for key, expected in _SETTINGS:
        config.require(key, (expected,), "GLUS was trained with it")
    records = [*_added_tokens(_read_if_there(folder / "added_tokens.json")), *_decoder_tokens(config)]
    if not any(record.content == NEEDED[0] for record in records):
        records += _json_tokens(_read_if_there(folder / "tokenizer.json"))
    ids = _checked_ids(folder, records, pieces)
    sides = {record.content: (record.lstrip, record.rstrip) for record in records if record.lstrip or record.rstrip}
    kept: dict[str, tuple[bool, bool]] = {}
    for role, record in _role_records(folder, config):
        if record.content not in ids:
            raise CheckpointError(
                f"{folder}: {role}: got {record.content[:60]!a}, expected one of {sorted(ids)[:12]}; {_FIX}"
            )
        if record.lstrip is not None and record.rstrip is not None:
            left, right = kept.get(record.content, (True, True))
            kept[record.content] = (left and record.lstrip, right and record.rstrip)
    return [
        SpecialToken(content, number, *(bool(side) for side in sides.get(content) or kept.get(content, (True, True))))
        for content, number in sorted(ids.items(), key=lambda item: item[1])
    ]


def _read_if_there(path: Path) -> JsonObject:
    return JsonObject.read(path) if path.exists() else JsonObject(path, {})


def _added_tokens(added: JsonObject) -> Iterator[_Record]:
    for content, number in added.values.items():
        yield _Record(content, _checked_id(added, content, number), None, None)


def _decoder_tokens(config: JsonObject) -> Iterator[_Record]:
    decoder = config.values.get("added_tokens_decoder")
    if decoder is not None and not isinstance(decoder, dict):
        raise config.error("added_tokens_decoder", "the record of every added token")
    for number, record in (decoder or {}).items():
        if not number.isascii() or not number.isdigit() or len(number) > 9:
            raise CheckpointError(
                f"{config.path}: added_tokens_decoder: got the id {ascii(number)[:60]}, expected a number"
            )
        yield _record(config, "added_tokens_decoder", record)._replace(id=int(number))


def _json_tokens(file: JsonObject) -> Iterator[_Record]:
    listed = file.values.get("added_tokens")
    for value in listed if isinstance(listed, list) else ():
        record = _record(file, "added_tokens", value)
        number = value.get("id") if isinstance(value, dict) else None
        yield record._replace(id=_checked_id(file, record.content, number))


def _role_records(folder: Path, config: JsonObject) -> Iterator[tuple[str, _Record]]:
    """What is said of special tokens, role by role; a bare string in tokenizer_config.json keeps its whitespace."""
    outranking = _read_if_there(folder / "special_tokens_map.json")
    for role, usual in _ROLES:
        if (value := outranking.values.get(role, config.values.get(role, usual))) is not None:
            record = _record(outranking, role, value)
            if not isinstance(value, dict) and role not in outranking.values:
                record = record._replace(lstrip=False, rstrip=False)
            yield role, record
    for file in (outranking, config):
        for key in ("additional_special_tokens", "extra_special_tokens"):  # the second is that of transformers 5
            further = file.values.get(key)
            if isinstance(further, dict):
                further = list(further.values())
            for value in further if isinstance(further, list) else ():
                yield key, _record(file, key, value)


def _record(file: JsonObject, where: str, value: Any) -> _Record:
    """A record or a bare string, checked."""
    content = value.get("content") if isinstance(value, dict) else value
    if not isinstance(content, str) or not 0 < len(content) <= LONGEST_TOKEN or not _is_encodable(content):
        raise CheckpointError(
            f"{file.path}: {where}: got {ascii(content)[:60]}, expected a token of 1 to {LONGEST_TOKEN} letters; {_FIX}"
        )
    if not isinstance(value, dict):
        return _Record(content, None, None, None)
    if value.get("single_word"):
        raise CheckpointError(
            f"{file.path}: {where}: {content!a}: got single_word true, expected false: GLUS's tokens stand between words; "
            f"{_FIX}"
        )
    return _Record(content, None, bool(value.get("lstrip")), bool(value.get("rstrip")))


def _checked_id(file: JsonObject, content: str, number: object) -> int:
    if type(number) is not int or not 0 <= number < 1 << 24:
        raise CheckpointError(f"{file.path}: {content[:60]!a}: got id {str(number)[:20]}, expected a whole number")
    if not 0 < len(content) <= LONGEST_TOKEN or not _is_encodable(content):
        raise CheckpointError(
            f"{file.path}: got the token {content[:40]!a}, expected text of 1 to {LONGEST_TOKEN} letters; {_FIX}"
        )
    return number


def _is_encodable(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _checked_ids(folder: Path, records: list[_Record], pieces: Vocabulary) -> dict[str, int]:
    """Id by token. A token may be a piece as well, under the piece's own id; the others follow the pieces."""
    ids = {"<unk>": pieces.unknown_id, "<s>": pieces.begin_id, "</s>": pieces.end_id}
    known = pieces.vocabulary()
    for record in records:
        assert record.id is not None
        expected = ids.get(record.content, known.get(record.content, record.id))
        if record.id != expected or (record.id < pieces.size and record.content not in known):
            text = expected if record.id != expected else f"{pieces.size} or more"
            raise CheckpointError(
                f"{folder}: added token {record.content[:60]!a}: got id {record.id}, expected {text}; {_FIX}"
            )
        ids[record.content] = record.id
    numbers = sorted(number for number in ids.values() if number >= pieces.size)
    if numbers != [*range(pieces.size, pieces.size + len(numbers))]:
        raise CheckpointError(
            f"{folder}: added tokens: got ids {numbers[:12]}, expected consecutive ids from {pieces.size}; {_FIX}"
        )
    for needed in NEEDED:
        if needed not in ids:
            raise CheckpointError(
                f"{folder}: no {needed} in the added tokens {sorted(ids)[:12]} (added_tokens.json, tokenizer_config.json, "
                f"tokenizer.json), expected the tokens GLUS adds; {_FIX}"
            )
    return ids
