"""How much harm each unit does alone: every block lowered by itself, the rest as the source has it."""

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import onnx
import torch

from glus_edge.calibration.apply import changed_graphs, write_graph
from glus_edge.calibration.budget import Option, Unit
from glus_edge.calibration.bundle_files import copied
from glus_edge.calibration.bundle_weights import PLAIN, BundleWeights
from glus_edge.calibration.measurement_store import MeasurementStore
from glus_edge.calibration.methods.graph_matrices import graph_matrices, unit_of
from glus_edge.calibration.recipe import Recipe
from glus_edge.calibration.videos.mask_loss import Loss, MaskJudge
from glus_edge.export.language.quantise import int4_block_size
from glus_edge.export.language.tensor_store import ALIGNMENT
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.errors import CheckpointError

PLAIN_BYTES = 4  # of a weight whose storage has no entry in PLAIN


class Units(NamedTuple):
    """The blocks of a bundle, by graph and name."""

    matrices: dict[Unit, list[str]]
    source_bytes: dict[Unit, int]
    lower_bytes: dict[Unit, dict[str, int]]  # precision -> bytes


def units_of(source: Bundle, recipe: Recipe, eight_bits: str) -> Units:
    """Every unit the recipe has a matrix of. eight_bits: what encoders may be lowered to, 'int8' or 'fp8'."""
    units = Units({}, {}, {})
    for graph, entries in recipe.graphs.items():
        shapes = _shapes(source, graph)
        stored = source.manifest.graphs[graph].weights
        item = PLAIN[stored].itemsize if stored in PLAIN else PLAIN_BYTES
        for name in entries:
            units.matrices.setdefault((graph, unit_of(name)), []).append(name)
        for unit in [unit for unit in units.matrices if unit[0] == graph]:
            found = [(name, shapes[name]) for name in units.matrices[unit]]
            if graph != "language_model":
                units.source_bytes[unit] = sum(math.prod(shape) * item for _, shape in found)
                units.lower_bytes[unit] = {
                    eight_bits: sum(math.prod(shape) + item * shape[1 if len(shape) == 2 else 0] for _, shape in found)
                }
                continue
            units.source_bytes[unit] = sum(_padded(math.prod(shape) * item) for _, shape in found)
            units.lower_bytes[unit] = {
                "int8": sum(_padded(math.prod(shape)) + _padded(item * shape[1]) for _, shape in found)
            }
            with suppress(CheckpointError):  # no block divides its input channels: int4 is no choice for this unit
                units.lower_bytes[unit]["int4"] = sum(
                    _padded(math.prod(shape) // 2) + _padded(item * math.prod(shape) // int4_block_size(name, shape[0]))
                    for name, shape in found
                )
    return units


def _padded(size: int) -> int:
    """Bytes in the language model's data file, where every tensor begins at a page."""
    return size + -size % ALIGNMENT


def _shapes(source: Bundle, graph: str) -> dict[str, tuple[int, ...]]:
    if graph == "language_model":
        weights = BundleWeights(source)
        return {name: weights.shape(name) for name in weights.names()}
    return {matrix.name: matrix.shape for matrix in graph_matrices(onnx.load(source.graph_path(graph)))}


class Ranking:
    """Measures recipes and units; what was measured before is taken from the store."""

    def __init__(
        self,
        source: Bundle,
        recipe: Recipe,
        scales: Mapping[str, torch.Tensor],
        judge: MaskJudge | None,
        store: MeasurementStore,
        folder: Path,
    ) -> None:
        """judge: None where harm is the error of tensors. folder: an empty one, for graphs that are measured."""
        self.source, self.recipe, self.judge = source, recipe, judge
        self._scales, self._store, self._folder = scales, store, folder
        for entry in (source.manifest.tokenizer, source.manifest.token_embedding):
            copied(source, entry, folder)

    def options(self, units: Units, unit: Unit) -> list[Option]:
        """What the unit may be lowered to, with the harm of each."""
        return [
            Option(precision, size, self.harm(unit, units.matrices[unit], precision))
            for precision, size in units.lower_bytes[unit].items()
        ]

    def harm(self, unit: Unit, names: list[str], precision: str) -> float:
        """Points lost with this unit alone in this precision, by masks; else the error of what it computes."""
        if self.judge is None:
            return self._error(unit, names, precision)
        chosen = {(unit[0], name): precision for name in names}
        loss = self.loss(chosen, f"harm-{unit[0]}-{unit[1]}-{precision}")
        # what J&F does not see yet, pixels that changed, still tells units apart
        return max(loss.j_and_f, 0.0) + 0.1 * loss.mask_iou

    def loss(self, chosen: Mapping[tuple[str, str], str], name: str) -> Loss:
        """Of the recipe with these precisions; `name` is what the store calls it."""
        assert self.judge is not None, "masks are not measured"
        held = self._store.get(name)
        if held is None:
            recipe = self.recipe.with_precisions(chosen)
            graphs = changed_graphs(recipe)
            entries = {graph: write_graph(self.source, graph, recipe, self._scales, self._folder) for graph in graphs}
            manifest = replace(self.source.manifest, graphs=self.source.manifest.graphs | entries)
            loss = self.judge.loss(Bundle(self._folder, manifest), graphs)
            for graph in graphs:
                for path in self._folder.glob(f"{graph}.onnx*"):
                    path.unlink()
            held = dict(loss._asdict())
            self._store.put(name, held)
        return Loss(float(str(held["j_and_f"])), float(str(held["mask_iou"])))

    def _error(self, unit: Unit, names: list[str], precision: str) -> float:
        if unit[0] == "language_model" and unit[1].startswith("model.layers."):
            layer = self._store.get(f"layer-{unit[1].rsplit('.', 1)[1]}")
            assert layer is not None
            outputs = layer["outputs"]
            assert isinstance(outputs, dict)
            return float(outputs["int4 awq" if precision == "int4" and self.recipe.awq else precision])
        errors = [self.recipe.graphs[unit[0]][name].error.get(precision, 0.0) for name in names]
        return math.sqrt(sum(error**2 for error in errors) / len(errors))
