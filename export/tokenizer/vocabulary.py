"""What rewriting a tokenizer needs of the vocabulary it comes with, whichever file that is in."""

from pathlib import Path
from typing import Protocol

from glus_edge.export.tokenizer.byte_pairs import BytePairs
from glus_edge.export.tokenizer.sentence_pieces import SentencePieces
from glus_edge.runtime.errors import CheckpointError


class Vocabulary(Protocol):
    """A byte-pair vocabulary that changes no character of its input but the space."""

    @property
    def size(self) -> int:
        """Number of pieces; added tokens are numbered from here."""
        ...

    @property
    def begin_id(self) -> int:
        """Id of <s>."""
        ...

    @property
    def end_id(self) -> int:
        """Id of </s>."""
        ...

    @property
    def unknown_id(self) -> int:
        """Id of <unk>."""
        ...

    @property
    def byte_fallback(self) -> bool:
        """Whether a character outside the vocabulary becomes its UTF-8 bytes instead of <unk>."""
        ...

    def piece(self, number: int) -> str:
        """The piece of an id."""
        ...

    def encode(self, text: str) -> list[int]:
        """Ids of a text without special tokens, dummy prefix included; none for the empty text."""
        ...

    def vocabulary(self) -> dict[str, int]:
        """Every piece and its id."""
        ...

    def merges(self) -> list[tuple[str, str]]:
        """Pairs of pieces that join, best first."""
        ...


def read_vocabulary(folder: Path) -> Vocabulary:
    """tokenizer.model, or tokenizer.json where that is all there is. Raises CheckpointError where both are missing."""
    pieces, pairs = folder / "tokenizer.model", folder / "tokenizer.json"
    if not pieces.exists() and pairs.exists():
        return BytePairs.read(pairs)
    if not pieces.exists():
        raise CheckpointError(
            f"{folder}: has neither tokenizer.model nor tokenizer.json, expected one; copy them from the checkpoint"
        )
    return SentencePieces.read(pieces)
