"""Scores predictions that lie in a folder, as the benchmark's official evaluator does: no engine runs."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np

from glus_edge.benchmarks.accuracy.evaluation import SentenceScore, frame_figures, sentence_score
from glus_edge.benchmarks.accuracy.scorer import Scorer, Values
from glus_edge.benchmarks.datasets.dataset import ReferringVideo
from glus_edge.benchmarks.datasets.layout import ERROR, SKIP, MissingPredictionError
from glus_edge.benchmarks.datasets.open_dataset import Benchmark
from glus_edge.benchmarks.metrics.metric import of_sentences
from glus_edge.runtime.errors import InputError


def score_predictions(root: Path, benchmark: Benchmark, asked: ReferringVideo, scorer: Scorer) -> list[SentenceScore]:
    """Scores of one video's sentences from the files below `root`. What is missing counts what the evaluator counts.

    InputError: a file that the evaluator cannot do without is missing, or is no mask of the frames' size.
    """
    with closing(asked.open()) as video:
        stems, size = tuple(video.stems), video.size
    count = len(asked.sentences)
    parts = [range(count)] if benchmark.metric.joint else [range(place, place + 1) for place in range(count)]
    empty = np.zeros((len(stems), count))
    scores: list[SentenceScore] = []
    for part in parts:
        values: dict[tuple[int, int], Callable[[], Values]] = {}
        try:
            for index, stem in enumerate(stems):
                masks = np.stack([benchmark.layout.read(root, asked, index, stem, place, size) for place in part])
                empty[index, part.start : part.stop] = ~masks.any(axis=(1, 2))
                truth = of_sentences(benchmark.truth(asked, index), slice(part.start, part.stop))
                values[index, part.start] = scorer.submit(benchmark.metric, masks, truth)
        except MissingPredictionError as missing:
            if missing.rule == ERROR:
                raise InputError(str(missing)) from missing
            if missing.rule == SKIP:
                continue
            figures = [dict.fromkeys(benchmark.metric.names, 0.0) for _ in part]
        else:
            figures = frame_figures(benchmark.metric, values)
        for place, each in zip(part, figures, strict=True):
            share = 100 * float(empty[:, place].mean())
            scores.append(sentence_score(asked.name, asked.sentences[place], len(stems), each, share, 100.0, 0.0))
    return scores
