"""What every matrix of a bundle loses to lower precision, and how far its inputs reach: the recipe's raw material."""

import math
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import onnx
import torch

from glus_edge.calibration.bundle_weights import BundleWeights
from glus_edge.calibration.measurement_store import MeasurementStore
from glus_edge.calibration.recipe import FORMAT, SOURCE, VERSION, MatrixRecipe, Recipe
from glus_edge.calibration.settings import CalibrationSettings
from glus_edge.calibration.statistics.encoder_statistics import ENCODERS, encoder_feeds, encoder_ranges
from glus_edge.calibration.statistics.language_inputs import language_inputs
from glus_edge.calibration.statistics.language_layers import LayerResult, LayerSettings, language_layers
from glus_edge.calibration.videos.calibration_video import CalibrationVideo, video_names
from glus_edge.export.parity.stored_weights import rounded
from glus_edge.runtime.backends.onnxruntime_engine import OnnxRuntimeBackend
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.signatures import GRAPHS
from glus_edge.runtime.errors import CheckpointError
from glus_edge.runtime.utils.schema import from_json, to_json

HEAD = "lm_head.weight"

Report = Callable[[str], None]
Scales = dict[str, torch.Tensor]


def measure(
    source: Bundle,
    videos: list[CalibrationVideo],
    settings: CalibrationSettings,
    store: MeasurementStore,
    report: Report,
) -> tuple[Recipe, Scales]:
    """A recipe in which every matrix keeps the source's precision, with all that is needed to lower it.

    Errors: those of the videos; InputError naming a matrix whose inputs are not finite; BundleError for rounded weights.
    """
    graphs: dict[str, dict[str, MatrixRecipe]] = {}
    shifts: Scales = {}
    if settings.encoders != "none":
        graphs, shifts = _encoders(source, videos, settings, store, report)
    language, scales = _language(source, videos, settings, store, report)
    graphs["language_model"] = language
    recipe = Recipe(
        format=FORMAT,
        version=VERSION,
        source=source.manifest.name,
        source_sha256={graph: source.manifest.graphs[graph].graph.sha256 for graph in GRAPHS},
        graphs=graphs,
        token_embedding=settings.embedding,
        awq=bool(scales),
        provenance={
            "videos": f"{len(videos)} of {settings.videos}: {video_names(videos)}",
            "encoder_images": str(settings.images),
            "language_prompts": str(settings.prompts),
            "ranges": settings.ranges,
            "smoothquant": "powers of the largest magnitudes, per norm" if settings.smooth else "none",
            "awq": "powers of the mean magnitude, per group of matrices" if settings.awq else "none",
        },
    )
    return recipe, scales | shifts


def _encoders(
    source: Bundle,
    videos: list[CalibrationVideo],
    settings: CalibrationSettings,
    store: MeasurementStore,
    report: Report,
) -> tuple[dict[str, dict[str, MatrixRecipe]], Scales]:
    found: dict[str, dict[str, MatrixRecipe]] = {}
    shifts: Scales = {}
    for graph in ENCODERS:
        held = store.get(graph)
        if held is None:
            report(f"observing {graph}")
            feeds = encoder_feeds(source, videos, settings.images)[graph]
            model = onnx.load(source.graph_path(graph))
            precision = settings.encoders
            held = {}
            measured = encoder_ranges(model, feeds, (precision,), settings.ranges, settings.smooth)
            for each in measured.ranges:
                error = {name: value for name, value in each.error.items() if not math.isnan(value)}
                entry = MatrixRecipe(SOURCE, each.method[precision], each.reach[precision], error, each.shift)
                held[each.matrix.name] = to_json(entry)
            store.put(graph, held, {f"{graph}/{name}": torch.from_numpy(s) for name, s in measured.shifts.items()})
        found[graph] = {name: from_json(MatrixRecipe, entry) for name, entry in held.items()}
        shifts |= store.tensors(graph) or {}
    return found, shifts


def _language(
    source: Bundle,
    videos: list[CalibrationVideo],
    settings: CalibrationSettings,
    store: MeasurementStore,
    report: Report,
) -> tuple[dict[str, MatrixRecipe], Scales]:
    weights = BundleWeights(source)
    layers = source.manifest.model.language_layers
    done = [store.get(f"layer-{layer}") for layer in range(layers)]
    if not all(done):
        report("reading prompts")
        prompts = list(language_inputs(source, OnnxRuntimeBackend(source), videos, settings.prompts))
        compute = source.manifest.graphs["language_model"].compute
        searched = LayerSettings() if settings.awq else LayerSettings(powers=(0.0,))
        held = frozenset(layer for layer, found in enumerate(done) if found)
        for result in language_layers(weights, source.manifest.model, prompts, compute, searched, held):
            report(f"layer {result.layer + 1} of {layers}: {_summary(result)}")
            store.put(
                f"layer-{result.layer}",
                {"matrices": result.matrices, "outputs": result.outputs, "powers": result.powers},
                result.scales,
            )
    entries: dict[str, MatrixRecipe] = {}
    scales: Scales = {}
    for layer in range(layers):
        value = store.get(f"layer-{layer}")
        assert value is not None
        errors = from_json(dict[str, dict[str, float]], value["matrices"])
        scales |= store.tensors(f"layer-{layer}") or {}
        method = "awq" if settings.awq else "rtn"
        entries |= {name: MatrixRecipe(SOURCE, method, None, error) for name, error in errors.items()}
    entries[HEAD] = MatrixRecipe(SOURCE, "rtn", None, _head_errors(weights, store))
    return entries, scales


def _head_errors(weights: BundleWeights, store: MeasurementStore) -> dict[str, float]:
    """lm_head only says whether the next token is [SEG]: the error of its weights stands for that of its products."""
    held = store.get(HEAD)
    if held is None:
        whole = weights.tensor(HEAD).float()
        held = {}
        for storage in ("int8", "int4"):
            with suppress(CheckpointError):  # no int4 block divides its input channels
                missed = rounded(HEAD, whole, storage, np.dtype("float32")) - whole
                held[storage] = float(missed.norm() / whole.norm())
        store.put(HEAD, held)
    return {name: float(error) for name, error in held.items() if isinstance(error, float)}


def _summary(result: LayerResult) -> str:
    return "output error " + ", ".join(f"{method} {error:.1e}" for method, error in result.outputs.items())
