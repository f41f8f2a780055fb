"""Which matrices are lowered how far: steps down in precision, least harm for a byte saved first, within the budget."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from glus_edge.calibration.budget import Budget, Option, Step, Unit, ordered_steps, within_loss, within_size
from glus_edge.calibration.bundle_files import size_bytes
from glus_edge.calibration.embedding import embedding_bytes
from glus_edge.calibration.rank import Ranking, Units, units_of
from glus_edge.calibration.recipe import Recipe
from glus_edge.calibration.videos.mask_loss import Loss
from glus_edge.runtime.bundle.bundle import Bundle

Report = Callable[[str], None]


class Ladder(NamedTuple):
    """The steps in the order in which to take them."""

    units: Units
    steps: list[Step]
    harm: dict[str, float]  # 'graph/unit precision' -> of the unit in this precision alone

    def precisions(self, count: int) -> dict[tuple[str, str], str]:
        """(graph, matrix) -> precision after the first `count` steps; a unit's later step replaces its earlier one."""
        matrices = self.units.matrices
        return {
            (step.graph, name): step.precision
            for step in self.steps[:count]
            for name in matrices[step.graph, step.unit]
        }


def rank_units(ranking: Ranking, eight_bits: str, report: Report) -> Ladder:
    """Measures every unit in every precision. eight_bits: what encoders may be lowered to, 'int8', 'fp8' or 'none'."""
    units = units_of(ranking.source, ranking.recipe, eight_bits)
    options: dict[Unit, list[Option]] = {}
    harm: dict[str, float] = {}
    for number, unit in enumerate(units.matrices):
        graph, name = unit
        options[unit] = ranking.options(units, unit)
        harms = ", ".join(f"{option.precision} {option.harm:.3g}" for option in options[unit])
        report(f"unit {number + 1} of {len(units.matrices)}: {graph} {name}: harm {harms}")
        harm |= {f"{graph}/{name} {option.precision}": option.harm for option in options[unit]}
    return Ladder(units, ordered_steps(units.source_bytes, options), harm)


def choose_precisions(ranking: Ranking, ladder: Ladder, budget: Budget | None, report: Report) -> Recipe:
    """The ranking's recipe with as many steps as the budget asks for, all without one; with what they were measured to lose.

    InputError: the budget cannot be kept.
    """
    count = _step_count(ranking, ladder, budget)
    chosen = replace(ranking.recipe.with_precisions(ladder.precisions(count)), harm=ladder.harm)
    judge = ranking.judge
    if judge is None:
        return chosen
    lost = _loss(ranking, ladder, count) if count else Loss(0.0, 0.0)
    measured = {"j_and_f_lost": lost.j_and_f, "mask_iou_lost": lost.mask_iou, "j_and_f_of_source": judge.score}
    against = "the true masks" if judge.truth_known else "the unquantised bundle's masks"
    report(f"{count} of {len(ladder.steps)} steps: {lost.j_and_f:+.2f} points of J&F lost against {against}")
    return replace(chosen, measured=measured, provenance=chosen.provenance | {"j_and_f_against": against})


def _step_count(ranking: Ranking, ladder: Ladder, budget: Budget | None) -> int:
    if budget is None:
        return len(ladder.steps)
    if budget.size_bytes is not None:
        whole = size_with_embedding(ranking.source, ranking.recipe.token_embedding)
        return within_size(ladder.steps, whole, budget.size_bytes)
    assert budget.points is not None, "a budget is a size or a loss"
    return within_loss(len(ladder.steps), lambda count: _loss(ranking, ladder, count).j_and_f, budget.points)


def _loss(ranking: Ranking, ladder: Ladder, count: int) -> Loss:
    return ranking.loss(ladder.precisions(count), f"first-{count}-steps")


def size_with_embedding(source: Bundle, precision: str) -> int:
    """Bytes of the bundle, its embedding table in this precision."""
    whole = size_bytes(source.manifest) - source.manifest.token_embedding.size_bytes
    return whole + embedding_bytes(source, precision)
