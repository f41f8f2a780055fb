"""A bundle becomes a smaller one within a budget, by what was measured; or as a recipe says."""

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from glus_edge.calibration.apply import apply_recipe
from glus_edge.calibration.budget import Budget
from glus_edge.calibration.bundle_files import file_entry, size_bytes
from glus_edge.calibration.choose import choose_precisions, rank_units
from glus_edge.calibration.measure import Scales, measure
from glus_edge.calibration.measurement_store import MeasurementStore
from glus_edge.calibration.rank import Ranking
from glus_edge.calibration.recipe import RECIPE, Recipe, read_recipe, read_scales, used_scales, write_recipe
from glus_edge.calibration.settings import CalibrationSettings
from glus_edge.calibration.videos.calibration_video import CalibrationVideo, open_calibration_videos
from glus_edge.calibration.videos.mask_loss import MaskJudge
from glus_edge.export.staging import new_folder
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.manifest import Manifest
from glus_edge.runtime.errors import InputError
from glus_edge.runtime.utils.schema import to_json

Report = Callable[[str], None]


def calibrate(settings: CalibrationSettings, report: Report) -> Manifest:
    """Measures, chooses and writes `settings.output`, whole or not at all; returns its manifest.

    What was measured lies in '.NAME.calibration' beside the output until then, so that a calibration that was stopped goes
    on. Errors: InputError (videos, budget, settings), BundleError, OutputError.
    """
    budget = Budget.parse(settings.budget) if settings.budget is not None else None
    if budget and budget.points is not None and settings.rank != "masks":
        raise InputError("--budget: got a loss in J&F with --rank tensors, expected --rank masks, which measures it")
    source = Bundle.open(settings.bundle)
    videos = open_calibration_videos(settings.videos, settings.count)
    with new_folder(settings.output, settings.overwrite) as folder:
        store = MeasurementStore(_store_folder(settings.output), _key(source, settings, videos))
        recipe, scales = measure(source, videos, settings, store, report)
        with (
            tempfile.TemporaryDirectory(prefix="measured-", dir=folder) as work,
            _mask_judge(source, videos, settings, report) as judge,
        ):
            ranking = Ranking(source, recipe, scales, judge, store, Path(work))
            ladder = rank_units(ranking, settings.encoders, report)
            chosen = choose_precisions(ranking, ladder, budget, report)
        manifest = write_bundle(source, chosen, scales, folder, report)
    store.remove()
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


@contextmanager
def _mask_judge(
    source: Bundle, videos: Sequence[CalibrationVideo], settings: CalibrationSettings, report: Report
) -> Iterator[MaskJudge | None]:
    """What compares masks; None where harm is the error of tensors."""
    if settings.rank == "tensors":
        yield None
        return
    report("segmenting the videos with the bundle as it is")
    with closing(MaskJudge(source, videos, settings.frames, settings.sentences)) as judge:
        yield judge


def _store_folder(output: Path) -> Path:
    return output.with_name(f".{output.name}.calibration")


def _key(source: Bundle, settings: CalibrationSettings, videos: Sequence[CalibrationVideo]) -> dict[str, object]:
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
        "videos": [[video.name, *video.sentences] for video in videos],
    }
