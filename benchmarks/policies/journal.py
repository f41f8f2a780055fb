"""What has been run so far, a line for each video and policy: a comparison can be broken off at any time and goes on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from glus_edge.benchmarks.accuracy.evaluation import SentenceScore
from glus_edge.runtime.errors import InputError
from glus_edge.runtime.utils.jsonl import append, open_journal
from glus_edge.runtime.utils.schema import from_json, to_json

FORMAT = "glus-edge policies"


class PolicyJournal:
    """JSON lines: a header that names the model, thresholds, and scores. Only ever appended to."""

    def __init__(self, path: Path, bundle: str) -> None:
        """`bundle`: the sha256 of its manifest. Errors: InputError for a file that is no journal of it, OutputError."""
        self._path = path
        self.thresholds: dict[str, float] = {}
        self._scores: dict[tuple[str, str, str], tuple[SentenceScore, ...]] = {}  # by set, video and rules
        header, records = open_journal(path, {"format": FORMAT, "bundle": bundle})
        if header.get("format") != FORMAT:
            raise InputError(f"{path}: got no journal of policies, expected one or a name not yet taken")
        if header.get("bundle") != bundle:
            raise InputError(f"{path}: got a journal of another bundle, expected this one's; name a new file")
        for record in records:
            try:
                self._load(record)
            except (ValueError, TypeError, KeyError) as error:
                raise InputError(f"{path}: got {error!r}, expected a journal of policies") from error

    def scores(self, dataset: str, video: str, rules: str) -> tuple[SentenceScore, ...] | None:
        """Of one video's sentences; None if they have not been computed."""
        return self._scores.get((dataset, video, rules))

    def add(self, dataset: str, video: str, rules: str, scores: Sequence[SentenceScore]) -> None:
        """Keeps one video's scores."""
        line = {"set": dataset, "video": video, "rules": rules, "scores": [to_json(score) for score in scores]}
        append(self._path, line)
        self._scores[dataset, video, rules] = tuple(scores)

    def add_threshold(self, policy: str, threshold: float) -> None:
        """Freezes a policy's threshold."""
        append(self._path, {"policy": policy, "threshold": threshold})
        self.thresholds[policy] = threshold

    def _load(self, record: dict[str, Any]) -> None:
        if "threshold" in record:
            self.thresholds[record["policy"]] = float(record["threshold"])
        else:
            scores = tuple(from_json(SentenceScore, score) for score in record["scores"])
            self._scores[record["set"], record["video"], record["rules"]] = scores
