"""The scores of an evaluation that is under way, a line for each finished video: a run that was stopped goes on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glus_edge.benchmarks.accuracy.evaluation import SentenceScore
from glus_edge.runtime.errors import InputError, OutputError
from glus_edge.runtime.utils.jsonl import append, open_journal
from glus_edge.runtime.utils.schema import SchemaError, from_json, to_json

FORMAT = "glus-edge evaluation journal"
SUFFIX = ".journal"


def journal_path(record: Path) -> Path:
    """Where the journal of a record lies."""
    return record.with_name(record.name + SUFFIX)


@dataclass(frozen=True)
class FinishedVideo:
    """A line of the journal. All files of the video had been written before it."""

    variant: str  # see Variant.name
    video: str
    scores: tuple[SentenceScore, ...]


class EvaluationJournal:
    """Beside the record: `<record>.journal`, until the record is there."""

    def __init__(self, record: Path, run: dict[str, Any]) -> None:
        """`run`: all that scores depend on, but for the variant. InputError: the journal there is of another run."""
        self.path = journal_path(record)
        header = {"format": FORMAT, **run}
        journal = open_journal(self.path, header)
        if journal.header != header:
            other = next((key for key in header if journal.header.get(key) != header[key]), "format")
            raise InputError(
                f"{self.path}: got an unfinished run with another {other}, expected {str(header[other])[:60]!r}; delete it, or "
                "name another --output"
            )
        try:
            found = [from_json(FinishedVideo, line) for line in journal.records]
        except SchemaError as error:
            raise InputError(
                f"{self.path}: {error}; expected the journal of `glus-edge evaluate`; delete it"
            ) from error
        self._finished = {(each.variant, each.video): each for each in found}

    def finished(self, variant: str, video: str) -> FinishedVideo | None:
        """What came of a video; None if it is not finished."""
        return self._finished.get((variant, video))

    def add(self, finished: FinishedVideo) -> None:
        """Keeps a finished video; it is on the disk when this returns. OutputError."""
        append(self.path, to_json(finished))
        self._finished[finished.variant, finished.video] = finished

    def remove(self) -> None:
        """The record is written: the journal has done its work. OutputError."""
        try:
            self.path.unlink()
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be removed ({error.strerror}); remove it yourself") from error
