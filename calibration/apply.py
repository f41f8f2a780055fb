"""A recipe applied: a new bundle, its graphs written anew where the recipe says so and copied where it does not."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from glus_edge.calibration.bundle_files import copied, file_entry
from glus_edge.calibration.bundle_weights import BundleWeights
from glus_edge.calibration.embedding import write_embedding
from glus_edge.calibration.finite import check_finite
from glus_edge.calibration.methods.graph_matrices import graph_matrices
from glus_edge.calibration.methods.norm_groups import NormGroup, norm_groups, with_shifts
from glus_edge.calibration.methods.qdq import EightBits, with_eight_bits
from glus_edge.calibration.recipe import SCALES, SOURCE, Recipe, used_scales
from glus_edge.export.language.graph import write_language_model
from glus_edge.export.language.scaled_weights import GROUPS, ScaledWeights, useful_scales
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.manifest import GraphEntry, Manifest
from glus_edge.runtime.bundle.signatures import GRAPHS
from glus_edge.runtime.errors import InputError

Report = Callable[[str], None]
Scales = Mapping[str, torch.Tensor]


def apply_recipe(source: Bundle, recipe: Recipe, scales: Scales, folder: Path, report: Report) -> Manifest:
    """Writes everything but manifest.json into `folder`; returns the manifest to be written.

    Raises InputError for a recipe made from another bundle, or naming a matrix that is not there.
    """
    check_recipe(source, recipe)
    manifest = source.manifest
    changed = changed_graphs(recipe)
    graphs = {}
    for graph in GRAPHS:
        if graph in changed:
            report(f"writing {graph}")
            graphs[graph] = write_graph(source, graph, recipe, scales, folder)
        else:
            entry = graphs[graph] = manifest.graphs[graph]
            for file in (entry.graph, entry.data):
                if file is not None:
                    copied(source, file, folder)
    copied(source, manifest.tokenizer, folder)
    return replace(manifest, graphs=graphs, token_embedding=write_embedding(source, recipe.token_embedding, folder))


def check_recipe(source: Bundle, recipe: Recipe) -> None:
    """Raises InputError unless the recipe was made from this very bundle, and names no graph but its own."""
    if unknown := sorted(set(recipe.graphs) - set(GRAPHS)):
        raise InputError(f"recipe: graphs: got {unknown[0]!r}, expected some of {', '.join(GRAPHS)}")
    for graph, digest in recipe.source_sha256.items():
        entry = source.manifest.graphs.get(graph)
        if entry is None or entry.graph.sha256 != digest:
            raise InputError(
                f"recipe: made from another {graph} ({recipe.source}), expected that of {source.directory}; "
                "calibrate this bundle itself, or give the one the recipe was made from"
            )


def changed_graphs(recipe: Recipe) -> list[str]:
    """Graphs of which a matrix leaves the source's precision."""
    return [graph for graph, matrices in recipe.graphs.items() if any(m.precision != SOURCE for m in matrices.values())]


def write_graph(source: Bundle, graph: str, recipe: Recipe, scales: Scales, folder: Path) -> GraphEntry:
    """Writes one graph into `folder` and returns its entry. InputError: a matrix of the recipe is not in the graph."""
    write = _write_language if graph == "language_model" else _write_encoder
    weights = write(source, graph, recipe, scales, folder)
    check_finite(folder / f"{graph}.onnx")
    data = folder / f"{graph}.onnx.data"
    entry = source.manifest.graphs[graph]
    return replace(
        entry,
        graph=file_entry(folder / f"{graph}.onnx"),
        data=file_entry(data) if data.is_file() else None,
        weights=weights,
        parity=(),
    )


def _write_language(source: Bundle, graph: str, recipe: Recipe, scales: Scales, folder: Path) -> str:
    entry, whole = source.manifest.graphs[graph], BundleWeights(source)
    chosen = {
        name: entry.weights if matrix.precision == SOURCE else matrix.precision
        for name, matrix in recipe.graphs[graph].items()
    }
    _check_known(graph, chosen, whole.names())
    everything = dict.fromkeys(whole.names(), entry.weights) | chosen
    # what most matrices have is what the graph is said to have
    weights = Counter(everything.values()).most_common(1)[0][0]
    path = folder / f"{graph}.onnx"
    folded = useful_scales(scales, chosen) if recipe.awq else {}
    for name, scale in folded.items():
        layer, group = next((name.removesuffix(each.name), each) for each in GROUPS if name.endswith(f".{each.name}"))
        _check_size(name, len(scale), whole.shape(layer + group.matrices[0])[0])
    scaled = ScaledWeights(whole, folded)
    write_language_model(scaled, source.manifest.model, path, entry.compute, weights, matrices=everything)
    return weights


def _write_encoder(source: Bundle, graph: str, recipe: Recipe, scales: Scales, folder: Path) -> str:
    model = onnx.load(source.graph_path(graph))
    choices = {
        name: EightBits(matrix.precision, matrix.reach or 0.0)
        for name, matrix in recipe.graphs[graph].items()
        if matrix.precision != SOURCE
    }
    matrices = graph_matrices(model)
    _check_known(graph, choices, {matrix.name for matrix in matrices})
    shifts = {
        name.partition("/")[2]: scale.numpy()
        for name, scale in used_scales(recipe, scales).items()
        if name.startswith(f"{graph}/")
    }
    groups = norm_groups(model, matrices)
    channels = {matrix.name: matrix.shape[0] for matrix in matrices}
    for name in shifts.keys() & channels.keys():
        _check_size(f"{graph}/{name}", len(shifts[name]), channels[name])
    check_shifts(graph, recipe, groups, shifts)
    edited = with_eight_bits(with_shifts(model, groups, shifts), matrices, choices)
    (folder / f"{graph}.onnx").write_bytes(edited.SerializeToString(deterministic=True))
    stored = source.manifest.graphs[graph].weights
    kinds = Counter(choices[matrix.name].precision if matrix.name in choices else stored for matrix in matrices)
    return kinds.most_common(1)[0][0]


def check_shifts(
    graph: str, recipe: Recipe, groups: Iterable[NormGroup], shifts: Mapping[str, NDArray[np.float32]]
) -> None:
    """InputError: a lowered matrix names another shift than its norm has, which would give it inputs of another size."""
    known = {name: group for group in groups for name in group.matrices}
    for name, matrix in recipe.graphs[graph].items():
        group = known.get(name)
        divided = group.name if group is not None and group.name in shifts else ""
        if matrix.precision != SOURCE and matrix.shift != divided:
            raise InputError(
                f"recipe: graphs.{graph}.{name}.shift: got {matrix.shift!r}, expected {divided!r}, as all that read the "
                "same norm"
            )


def _check_size(name: str, scales: int, channels: int) -> None:
    if scales != channels:
        raise InputError(
            f"{SCALES}: {name}: got {scales} scales, expected {channels}, one for each input channel; keep it beside the "
            "recipe it was written with"
        )


def _check_known(graph: str, named: Iterable[str], known: Iterable[str]) -> None:
    unknown = sorted(set(named) - set(known))
    if unknown:
        raise InputError(f"recipe: graphs.{graph}: got {unknown[0]!r}, expected a matrix of this graph")
