"""The record of a benchmark: one JSON file that says what was run, where, with which settings, and what came of it."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from glus_edge.benchmarks.instruments.environment import Environment
from glus_edge.runtime.errors import OutputError
from glus_edge.runtime.utils.atomic_file import check_file, write_file
from glus_edge.runtime.utils.schema import record_json


def add_record_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --output and --overwrite."""
    parser.add_argument("--output", type=Path, metavar="JSON", help="the record to write")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier record")


def checked_output(arguments: argparse.Namespace) -> Path | None:
    """Where the record goes, asked before the benchmark runs; None: nowhere.

    OutputError: the file exists already, or cannot be written.
    """
    path: Path | None = arguments.output
    if path is None:
        return None
    if path.is_file() and not arguments.overwrite:
        raise OutputError(f"--output {path}: exists already, expected a new file; name another one or give --overwrite")
    check_file(path)
    return path


class RecordFile:
    """Where a benchmark's record goes, checked before the benchmark runs."""

    def __init__(self, benchmark: str, arguments: argparse.Namespace) -> None:
        """`arguments`: those of `add_record_arguments`. OutputError: the file exists already, or cannot be written."""
        self._benchmark = benchmark
        self._path = checked_output(arguments)
        self._command_line = ["glus-edge", *arguments.argv]

    def write(self, where: Environment, settings: object, rows: Sequence[object], **others: object) -> None:
        """Writes the whole file or none; nothing without --output.

        `settings` and `rows` are dataclasses or JSON; `others` are further entries. What is no number becomes null.
        OutputError: the disk is full or the file cannot be written.
        """
        if self._path is None:
            return
        record = {
            "format": f"glus-edge bench {self._benchmark}",
            "command_line": self._command_line,
            "environment": where,
            "settings": settings,
            **others,
            "rows": list(rows),
        }
        text = json.dumps(record_json(record), indent=1, allow_nan=False, default=_plain)
        write_file(self._path, text.encode() + b"\n")


def _plain(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no JSON")
