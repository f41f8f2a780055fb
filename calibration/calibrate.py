"""A bundle becomes a smaller one within a budget, by what was measured; or as a recipe says."""

import json
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from glus_edge.calibration.apply import apply_recipe
from glus_edge.calibration.budget import Budget, Option, Step, Unit, ladder, within_loss, within_size
from glus_edge.calibration.bundle_files import file_entry, size_bytes
from glus_edge.calibration.clips.clips import Clip, open_clips
from glus_edge.calibration.clips.mask_loss import Loss, MaskJudge
from glus_edge.calibration.embedding import embedding_bytes
from glus_edge.calibration.journal import Journal
from glus_edge.calibration.measure import Scales, measure
from glus_edge.calibration.rank import Ranking, Units, units_of
from glus_edge.calibration.recipe import RECIPE, Recipe, read_recipe, read_scales, used_scales, write_recipe
from glus_edge.calibration.settings import CalibrationSettings
from glus_edge.export.staging import new_folder
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.manifest import Manifest
from glus_edge.runtime.errors import InputError
from glus_edge.runtime.utils.schema import to_json

Report = Callable[[str], None]


def calibrate(settings: CalibrationSettings, report: Report) -> Manifest:
    """Measures, chooses and writes `settings.output`, whole or not at all; returns its manifest.

    What was measured lies in '.NAME.calibration' beside the output until then, so that a calibration that was stopped goes
    on. Errors: InputError (clips, budget, settings), BundleError, OutputError.
    """
    budget = Budget.parse(settings.budget) if settings.budget is not None else None
    if budget and budget.points is not None and settings.rank != "masks":
        raise InputError("--budget: got a loss in J&F with --rank tensors, expected --rank masks, which measures it")
    source = Bundle.open(settings.bundle)
    clips = open_clips(settings.clips, settings.count)
    with new_folder(settings.output, settings.overwrite) as folder:
        journal = Journal(_journal_folder(settings.output), _key(source, settings, clips))
        recipe, scales = measure(source, clips, settings, journal, report)
        with tempfile.TemporaryDirectory(prefix="measured-", dir=folder) as work:
            recipe = _choose(source, recipe, scales, clips, settings, budget, journal, Path(work), report)
        manifest = write_bundle(source, recipe, scales, folder, report)
    journal.remove()
    return manifest


def apply(bundle: Path, recipe_file: Path, output: Path, overwrite: bool, report: Report) -> Manifest:
    """Writes the bundle that a recipe file, edited perhaps, says. Errors: InputError, BundleError, OutputError."""
    recipe = read_recipe(recipe_file)
    scales = read_scales(recipe_file, recipe)
    source = Bundle.open(bundle)
    with new_folder(output, overwrite) as folder:
        return write_bundle(source, recipe, scales, folder, report)


def write_bundle(source: Bundle, recipe: Recipe, scales: Scales, folder: Path, report: Report) -> Manifest:
    """Graphs, recipe and manifest into an empty folder."""
    scales = used_scales(recipe, scales)
    manifest = apply_recipe(source, recipe, scales, folder, report)
    recipe = replace(recipe, measured=recipe.measured | {"size_bytes": float(size_bytes(manifest))})
    write_recipe(folder, recipe, scales)
    notes = {f"calibration_{name}": text for name, text in recipe.provenance.items()}
    notes |= {f"calibration_{name}": f"{value:.6g}" for name, value in recipe.measured.items()}
    manifest = replace(manifest, recipe=file_entry(folder / RECIPE), provenance=manifest.provenance | notes)
    (folder / "manifest.json").write_text(json.dumps(to_json(manifest), indent=2) + "\n", encoding="utf-8")
    return manifest


def _choose(
    source: Bundle,
    recipe: Recipe,
    scales: Scales,
    clips: list[Clip],
    settings: CalibrationSettings,
    budget: Budget | None,
    journal: Journal,
    folder: Path,
    report: Report,
) -> Recipe:
    """The recipe's precisions, under the budget, with what they were measured to cost."""
    units = units_of(source, recipe, settings.encoders)
    if settings.rank == "tensors":
        ranking = Ranking(source, recipe, scales, None, journal, folder)
        steps, harm = _ladder(units, ranking, report)
        taken = _taken(steps, budget, source, recipe.token_embedding, None)
        return replace(recipe.with_precisions(_precisions(units, steps[:taken])), harm=harm)
    report("segmenting the clips with the bundle as it is")
    with closing(MaskJudge(source, clips, settings.frames, settings.sentences)) as judge:
        ranking = Ranking(source, recipe, scales, judge, journal, folder)
        steps, harm = _ladder(units, ranking, report)

        def loss(count: int) -> Loss:
            return ranking.loss(_precisions(units, steps[:count]), f"first-{count}-steps")

        taken = _taken(steps, budget, source, recipe.token_embedding, loss)
        lost = loss(taken) if taken else Loss(0.0, 0.0)
        measured = {"j_and_f_lost": lost.j_and_f, "mask_iou_lost": lost.mask_iou, "j_and_f_of_source": judge.score}
        against = "the true masks" if judge.truth_known else "the unquantised bundle's masks"
    report(f"{taken} of {len(steps)} steps: {lost.j_and_f:+.2f} points of J&F lost against {against}")
    provenance = recipe.provenance | {"j_and_f_against": against}
    chosen = recipe.with_precisions(_precisions(units, steps[:taken]))
    return replace(chosen, harm=harm, measured=measured, provenance=provenance)


def _ladder(units: Units, ranking: Ranking, report: Report) -> tuple[list[Step], dict[str, float]]:
    options: dict[Unit, list[Option]] = {}
    harm: dict[str, float] = {}
    for number, unit in enumerate(units.matrices):
        options[unit] = ranking.options(units, unit)
        told = ", ".join(f"{option.precision} {option.harm:.3g}" for option in options[unit])
        report(f"unit {number + 1} of {len(units.matrices)}: {unit[0]} {unit[1]}: harm {told}")
        harm |= {f"{unit[0]}/{unit[1]} {option.precision}": option.harm for option in options[unit]}
    return ladder(units.source_bytes, options), harm


def _taken(
    steps: list[Step], budget: Budget | None, source: Bundle, embedding: str, loss: Callable[[int], Loss] | None
) -> int:
    if budget is None:
        return len(steps)
    if budget.size_bytes is not None:
        whole = size_bytes(source.manifest) - source.manifest.token_embedding.size_bytes
        return within_size(steps, whole + embedding_bytes(source, embedding), budget.size_bytes)
    assert loss is not None
    assert budget.points is not None
    measured = loss
    return within_loss(len(steps), lambda count: measured(count).j_and_f, budget.points)


def _precisions(units: Units, steps: list[Step]) -> dict[tuple[str, str], str]:
    """Precision of every matrix after these steps; a unit's later step replaces its earlier one."""
    return {(step.graph, name): step.precision for step in steps for name in units.matrices[step.graph, step.unit]}


def _journal_folder(output: Path) -> Path:
    return output.with_name(f".{output.name}.calibration")


def _key(source: Bundle, settings: CalibrationSettings, clips: list[Clip]) -> dict[str, object]:
    """All that measurements depend on; the budget is not among it, so that another one measures nothing anew."""
    measured = to_json(settings)
    for name in ("bundle", "output", "budget", "overwrite", "embedding"):
        del measured[name]
    graphs = {name: entry.graph.sha256 for name, entry in source.manifest.graphs.items()}
    data = source.manifest.graphs["language_model"].data
    return {
        "settings": measured,
        "graphs": graphs,
        "data": data.sha256 if data else "",
        "clips": [[clip.name, *clip.sentences] for clip in clips],
    }
