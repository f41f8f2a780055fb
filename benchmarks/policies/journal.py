"""What has been run so far, a line for each video and policy: a comparison can be broken off at any time and goes on."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from glus_edge.benchmarks.accuracy.evaluation import SentenceScore
from glus_edge.runtime.errors import InputError, OutputError
from glus_edge.runtime.utils.schema import to_json

FORMAT = "glus-edge policies"


class PolicyJournal:
    """A file of JSON lines: a header that names the model, thresholds, and scores. Only ever appended to."""

    def __init__(self, path: Path, bundle: str) -> None:
        """`bundle`: the sha256 of its manifest. Errors: InputError for a file that is no journal of it, OutputError."""
        self._path = path
        self.thresholds: dict[str, float] = {}
        self._scores: dict[tuple[str, str, str], tuple[SentenceScore, ...]] = {}  # by set, video and rules
        if path.exists():
            self._read(bundle)
        else:
            self._write({"format": FORMAT, "bundle": bundle})

    def scores(self, dataset: str, video: str, rules: str) -> tuple[SentenceScore, ...] | None:
        """Of one video's sentences; None if they have not been computed."""
        return self._scores.get((dataset, video, rules))

    def add(self, dataset: str, video: str, rules: str, scores: Sequence[SentenceScore]) -> None:
        """Notes one video's scores."""
        self._write({"set": dataset, "video": video, "rules": rules, "scores": [to_json(score) for score in scores]})
        self._scores[dataset, video, rules] = tuple(scores)

    def add_threshold(self, policy: str, threshold: float) -> None:
        """Freezes a policy's threshold."""
        self._write({"policy": policy, "threshold": threshold})
        self.thresholds[policy] = threshold

    def _read(self, bundle: str) -> None:
        try:
            content = self._path.read_bytes()
            # A run that was killed may have left half a line.
            whole = content[: content.rfind(b"\n") + 1]
            header, *lines = [json.loads(line) for line in whole.splitlines()] or [None]
            if not isinstance(header, dict) or header.get("format") != FORMAT:
                raise InputError(f"{self._path}: got no journal of policies, expected one or a name not yet taken")
            if header["bundle"] != bundle:
                raise InputError(f"{self._path}: got a journal of another bundle, expected this one's; name a new file")
            for line in lines:
                self._take(line)
            if len(whole) < len(content):
                os.truncate(self._path, len(whole))
        except OSError as error:
            raise InputError(f"{self._path}: cannot be read: {error.strerror}") from error
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{self._path}: got {error!r}, expected a journal of policies") from error

    def _take(self, line: dict[str, Any]) -> None:
        if "threshold" in line:
            self.thresholds[line["policy"]] = float(line["threshold"])
        else:
            scores = tuple(SentenceScore(**score) for score in line["scores"])
            self._scores[line["set"], line["video"], line["rules"]] = scores

    def _write(self, line: dict[str, Any]) -> None:
        try:
            with self._path.open("ab") as file:
                file.write(json.dumps(line, allow_nan=False).encode() + b"\n")
        except OSError as error:
            raise OutputError(f"{self._path}: cannot be written: {error.strerror}") from error
