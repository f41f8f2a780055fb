"""What clients ask for in text messages, and what they are told."""

import json
from dataclasses import dataclass
from typing import Any

from glus_edge.runtime.errors import InputError

_SHOWN = 80  # characters of a message that is refused
_FORMS = '{"add": ["SENTENCE", ...]} or {"remove": NUMBER}'


@dataclass(frozen=True)
class Add:
    """More sentences, as one batch."""

    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Remove:
    """One sentence less."""

    number: int


def command_from_text(text: str) -> Add | Remove:
    """A client's message. InputError: it is no command."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:  # deeper than the parser goes
        raise _refused(text) from error
    match document:
        case {"add": [_, *_] as sentences} if len(document) == 1 and all(isinstance(each, str) for each in sentences):
            return Add(tuple(sentences))
        case {"remove": int(number)} if len(document) == 1 and not isinstance(number, bool):
            return Remove(number)
    raise _refused(text)


def _refused(text: str) -> InputError:
    shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
    return InputError(f"message: got {shown!r}, expected {_FORMS}")


def sentences_text(sentences: tuple[str, ...]) -> str:
    """The answer to a command: all sentences there are now, in the order of a frame's masks."""
    return json.dumps({"sentences": sentences})


def error_text(error: Exception | str) -> str:
    """The answer to what was refused, in one line."""
    return json.dumps({"error": " ".join(str(error).split())})


def frame_text(record: dict[str, Any], texts: tuple[str, ...], masks: list[str | None]) -> str:
    """A frame's answer: `stream`'s record, each sentence with its text and its mask (a PNG in base64; None: empty).

    The sentences are those the frame was asked about, whatever was added or removed since.
    """
    for sentence, text, mask in zip(record["sentences"], texts, masks, strict=True):
        sentence |= {"text": text, "mask": mask}
    return json.dumps(record, allow_nan=False)
