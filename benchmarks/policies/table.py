"""Policies side by side: J&F, calls of the language model, and differences with their intervals."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from glus_edge.benchmarks.accuracy.bootstrap import Key, PairedDifference, paired_bootstrap
from glus_edge.benchmarks.accuracy.evaluation import KINDS, SentenceScore, summary
from glus_edge.benchmarks.datasets.dataset import NO_TARGET
from glus_edge.benchmarks.policies.rule_list import EVERY_5, EXACT


@dataclass(frozen=True)
class PolicyFigures:
    """One policy over all videos."""

    policy: str
    rules: str
    j_and_f: dict[str, float | None]  # 'all' and kinds; points
    calls: float  # of the language model a hundred frames of one sentence
    against: dict[str, PairedDifference]  # EXACT and EVERY_5, where they were run


def policy_figures(scores: Mapping[str, Sequence[SentenceScore]], rules: Mapping[str, str]) -> list[PolicyFigures]:
    """Of every policy, in order; each was run over the same videos."""
    keyed = {policy: _keyed(each) for policy, each in scores.items()}
    return [
        PolicyFigures(
            policy=policy,
            rules=rules[policy],
            j_and_f=summary(each).j_and_f,
            calls=call_rate(each),
            against={
                other: paired_bootstrap(keyed[policy], keyed[other])
                for other in (EXACT, EVERY_5)
                if other in keyed and other != policy
            },
        )
        for policy, each in scores.items()
    ]


def call_rate(scores: Sequence[SentenceScore]) -> float:
    """Frames asked about of a hundred."""
    return sum(score.asked * score.frames for score in scores) / sum(score.frames for score in scores)


def policy_table(figures: Sequence[PolicyFigures]) -> Iterator[str]:
    """Lines in Markdown."""
    yield f"| policy | rules | J&F | {' | '.join(KINDS)} | calls per 100 frames | against exact | against every 5th |"
    yield "|" + "---|" * (len(KINDS) + 6)
    for row in figures:
        kinds = " | ".join(_points(row.j_and_f[kind]) for kind in KINDS)
        exact, every = (_difference(row.against.get(other)) for other in (EXACT, EVERY_5))
        yield (
            f"| {row.policy} | {row.rules} | {_points(row.j_and_f['all'])} | {kinds} | {row.calls:.1f} | {exact} | {every} |"
        )


def _keyed(scores: Sequence[SentenceScore]) -> dict[Key, float]:
    return {(score.video, score.sentence): score.j_and_f for score in scores if score.kind != NO_TARGET}


def _points(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _difference(difference: PairedDifference | None) -> str:
    if difference is None:
        return ""
    return f"{difference.mean:+.2f} [{difference.low:+.2f}, {difference.high:+.2f}]"
