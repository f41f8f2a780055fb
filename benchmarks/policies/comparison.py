"""Policies over the same videos, each pair of policy and video run once and kept in a journal."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

import numpy as np

from glus_edge.benchmarks.accuracy.evaluation import ROW, SentenceScore, frame_row, score_of
from glus_edge.benchmarks.datasets.dataset import NO_TARGET, Dataset, ReferringVideo
from glus_edge.benchmarks.policies.caching_engine import CachingBackend
from glus_edge.benchmarks.policies.journal import PolicyJournal
from glus_edge.benchmarks.policies.oracle import OracleRule, Truth
from glus_edge.benchmarks.policies.rule_list import EVERY_5, FITTED, FIXED, fitted_threshold
from glus_edge.benchmarks.policies.table import call_rate
from glus_edge.runtime.backends.onnxruntime_engine import OnnxRuntimeBackend
from glus_edge.runtime.backends.onnxruntime_session import OnnxRuntimeOptions
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.policies.loop_rules import LoopChoice
from glus_edge.runtime.segmenter import Segmenter
from glus_edge.runtime.utils.progress import Progress
from glus_edge.runtime.video.video import Video


class Comparison:
    """Runs policies over videos, each pair once."""

    def __init__(self, bundle: Bundle, journal: PolicyJournal, threads: int = 0) -> None:
        self._backend = CachingBackend(OnnxRuntimeBackend(bundle, OnnxRuntimeOptions(threads=threads)))
        self._segmenter = Segmenter(bundle, self._backend)
        self._journal = journal

    def close(self) -> None:
        """Releases the engines."""
        self._segmenter.close()

    def run(self, dataset: Dataset, videos: int, choices: Sequence[LoopChoice], progress: Progress) -> None:
        """Makes sure that every policy has been run over the first `videos` videos."""
        for number in progress(range(videos), videos, f"{dataset.name}, {len(choices)} policies"):
            asked = None
            for choice in choices:
                if self._journal.scores(dataset.name, f"{number:03d}", rules_text(choice)) is None:
                    asked = asked or dataset[number]
                    scores = self._video(asked, choice)
                    self._journal.add(dataset.name, f"{number:03d}", rules_text(choice), scores)
            self._backend.clear()

    def scores_of(self, dataset: Dataset, videos: int, choice: LoopChoice) -> list[SentenceScore]:
        """The scores of a policy that has been run."""
        lines = (self._journal.scores(dataset.name, f"{number:03d}", rules_text(choice)) for number in range(videos))
        return [score for line in lines for score in line or ()]

    def fit_thresholds(
        self, dataset: Dataset, videos: int, names: Sequence[str], wanted: float | None, progress: Progress
    ) -> None:
        """Sets the thresholds that are not yet set, for a call rate in percent; None for that of EVERY_5."""

        def rate(choice: LoopChoice) -> float:
            self.run(dataset, videos, (choice,), progress)
            return call_rate(self.scores_of(dataset, videos, choice)) / 100

        missing = [name for name in names if name not in self._journal.thresholds]
        if missing:
            share = rate(FIXED[EVERY_5]) if wanted is None else wanted / 100
            for name in missing:
                rule = FITTED[name]
                threshold = fitted_threshold(lambda t, r=rule: rate(r.choice(t)), share, rising=rule.rising)  # type: ignore[misc]
                self._journal.add_threshold(name, threshold)

    def _video(self, asked: ReferringVideo, choice: LoopChoice) -> list[SentenceScore]:
        places = [place for place, sentence in enumerate(asked.sentences) if sentence.kind != NO_TARGET]
        with closing(asked.open()) as video:
            return [self._sentence(asked, video, place, choice) for place in places]

    def _sentence(self, asked: ReferringVideo, video: Video, place: int, choice: LoopChoice) -> SentenceScore:
        truth = Truth()
        if isinstance(choice.refresh, OracleRule):
            choice = replace(choice, refresh=OracleRule(truth=truth))
        sentence = asked.sentences[place]
        results = iter(self._segmenter.segment(video, [sentence.text], **vars(choice)))
        rows = np.zeros((video.frame_count, ROW))
        for index in range(video.frame_count):
            true = asked.truth(index)[place]
            truth.show(true)
            result = next(results)
            rows[index] = frame_row(result.masks[0], true, result.scores[0].segmented, result.asked)
        return score_of(asked.name, sentence, rows)


def rules_text(choice: LoopChoice) -> str:
    """A policy's rules on one line; the name it has in the journal."""
    refresh = choice.refresh if isinstance(choice.refresh, str) else choice.refresh.name
    return " ".join((choice.policy, refresh, choice.memory, choice.lost))
