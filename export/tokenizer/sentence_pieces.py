"""tokenizer.model: the sentencepiece vocabulary of a LLaMA-style model, and the merges it implies."""

from pathlib import Path
from typing import Any

import sentencepiece
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from sentencepiece import sentencepiece_model_pb2

from glus_edge.export.checkpoint.file_kind import check_file_kind
from glus_edge.runtime.errors import CheckpointError

SPACE = "\u2581"  # sentencepiece's own sign for a space
LONGEST_PIECE = 256  # letters; LLaMA's longest has 16
LARGEST_FILE = 64 * 1024 * 1024  # bytes; LLaMA's has half a million
# What sentencepiece and protobuf raise for bytes that are no model.
DAMAGED = (RuntimeError, ValueError, TypeError, IndexError, DecodeError)
BPE = 2  # TrainerSpec.ModelType
_PROTOCOL: Any = sentencepiece_model_pb2  # its classes are made at run time, out of a type checker's sight
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6  # SentencePiece.Type


class SentencePieces:
    """A byte-pair sentencepiece model that changes no character of its input but the space."""

    def __init__(self, path: Path, content: bytes) -> None:
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=content)
        self._model = _PROTOCOL.ModelProto.FromString(content)
        if not all(
            isinstance(p.piece, str) for p in self._model.pieces
        ):  # protobuf gives bytes where they are no UTF-8
            raise ValueError("a piece is no UTF-8")
        self._check(path)
        self._scores = {p.piece: p.score for p in self._model.pieces if p.type == NORMAL}
        self._check_merges(path)

    @classmethod
    def read(cls, path: Path) -> "SentencePieces":
        """Read tokenizer.model. Raises CheckpointError when it is missing, damaged, or not LLaMA-style."""
        check_file_kind(path)
        try:
            if not (content := path.read_bytes()):  # which sentencepiece would take for no model at all
                raise CheckpointError(f"{path}: is empty, expected the sentencepiece model; copy it again")
            if len(content) > LARGEST_FILE:
                raise CheckpointError(f"{path}: got {len(content)} bytes, expected at most {LARGEST_FILE}")
            return cls(path, content)
        except OSError as error:
            raise CheckpointError(
                f"{path}: {error.strerror}, expected the sentencepiece model; copy it from the checkpoint"
            ) from error
        except DAMAGED as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise CheckpointError(
                f"{path}: not a sentencepiece model ({first[:160]}), expected tokenizer.model; copy it again"
            ) from error

    @property
    def size(self) -> int:
        """Number of pieces; added tokens are numbered from here."""
        return len(self._model.pieces)

    @property
    def begin_id(self) -> int:
        """Id of <s>."""
        return int(self._processor.bos_id())

    @property
    def end_id(self) -> int:
        """Id of </s>."""
        return int(self._processor.eos_id())

    @property
    def unknown_id(self) -> int:
        """Id of <unk>."""
        return int(self._processor.unk_id())

    @property
    def byte_fallback(self) -> bool:
        """Whether a character outside the vocabulary becomes its UTF-8 bytes instead of <unk>."""
        return bool(self._model.trainer_spec.byte_fallback)

    def piece(self, number: int) -> str:
        """The piece of an id."""
        return str(self._model.pieces[number].piece)

    def encode(self, text: str) -> list[int]:
        """Ids of a text without special tokens, dummy prefix included; none for the empty text."""
        return list(self._processor.encode(text))

    def vocabulary(self) -> dict[str, int]:
        """Every piece and its id."""
        return {p.piece: number for number, p in enumerate(self._model.pieces)}

    def merges(self) -> list[tuple[str, str]]:
        """Pairs of pieces that join, best first.

        sentencepiece joins ANY two neighbours whose concatenation is a piece, the best score first, so every way to cut
        a piece in two is a merge. Cuts of one piece share its score there, and are listed together here.
        """
        pairs = []
        for piece in sorted(self._scores, key=self._scores.__getitem__, reverse=True):
            cuts = ((piece[:i], piece[i:]) for i in range(len(piece) - 1, 0, -1))
            pairs += [cut for cut in cuts if cut[0] in self._scores and cut[1] in self._scores]
        return pairs

    def _check(self, path: Path) -> None:
        normaliser, trainer = self._model.normalizer_spec, self._model.trainer_spec
        facts: tuple[tuple[str, object, object], ...] = (
            ("model_type", trainer.model_type, BPE),
            ("precompiled_charsmap", bytes(normaliser.precompiled_charsmap)[:8], b""),
            ("add_dummy_prefix", normaliser.add_dummy_prefix, True),
            ("remove_extra_whitespaces", normaliser.remove_extra_whitespaces, False),
            ("escape_whitespaces", normaliser.escape_whitespaces, True),
            ("treat_whitespace_as_suffix", trainer.treat_whitespace_as_suffix, False),
            ("longest piece", max((len(p.piece) for p in self._model.pieces), default=0) > LONGEST_PIECE, False),
            ("piece types", {p.type for p in self._model.pieces} - {NORMAL, UNKNOWN, CONTROL, BYTE}, set()),
            ("<s>", self._processor.id_to_piece(self.begin_id) if self.begin_id >= 0 else "none", "<s>"),
            ("</s>", self._processor.id_to_piece(self.end_id) if self.end_id >= 0 else "none", "</s>"),
            ("<unk>", self._processor.id_to_piece(self.unknown_id), "<unk>"),
        )
        for name, got, expected in facts:
            if got != expected:
                raise CheckpointError(
                    f"{path}: {name} is {got!r}, expected {expected!r} as in LLaMA's tokenizer; "
                    "use the tokenizer.model saved with the GLUS checkpoint"
                )

    def _check_merges(self, path: Path) -> None:
        if len(set(self._scores.values())) < len(self._scores):
            raise CheckpointError(
                f"{path}: two pieces have the same score, expected a score per piece as in LLaMA's tokenizer; "
                "use the tokenizer.model saved with the GLUS checkpoint"
            )
        for piece in self._scores:
            for i in range(1, len(piece)):
                sides = (piece[:i], piece[i:])
                lone = [side for side in sides if side not in self._scores and len(side) == 1]
                if lone and all(len(side) == 1 or side in self._scores for side in sides):
                    raise CheckpointError(
                        f"{path}: piece {piece!r} joins {lone[0]!r}, which is no piece itself, expected every character "
                        "of a piece in the vocabulary; use the tokenizer.model saved with the GLUS checkpoint"
                    )
