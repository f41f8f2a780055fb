"""The language model layer by layer on real prompts: what each matrix loses to rounding, and the scales that lose least.

One layer's weights are in memory at a time, in float32, with the hidden states of all prompts. Inputs are those of the
unrounded model, so that a layer's result does not depend on what is chosen for the layers before.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from glus_edge.calibration.methods.awq import POWERS, Round, search_scale
from glus_edge.calibration.statistics.row_statistics import RowStatistics
from glus_edge.export.language.scaled_weights import GROUPS, ScaledGroup, ScaledWeights
from glus_edge.export.language.weights import LanguageConstants, LanguageWeights
from glus_edge.export.parity.language_reference import LanguageReference
from glus_edge.export.parity.stored_weights import StoredWeights, rounded
from glus_edge.runtime.bundle.signatures import ModelDimensions

METHODS = ("int8", "int4", "int4 awq")


@dataclass(frozen=True)
class LayerSettings:
    """How a layer is searched."""

    sample_rows: int = 256  # of the inputs, on which products are compared
    powers: tuple[float, ...] = POWERS
    compared_prompts: int = 2  # on which whole layers are compared


@dataclass(frozen=True)
class LayerResult:
    """One layer; errors are relative L2 distances from the unrounded one."""

    layer: int
    matrices: dict[str, dict[str, float]]  # tensor name -> method -> error of its products
    outputs: dict[str, float]  # method -> error of what the layer adds to the hidden states, all its matrices rounded
    powers: dict[str, float]  # group -> the power of the mean magnitude that AWQ chose
    scales: dict[str, torch.Tensor]  # 'model.layers.N.GROUP' -> [K] float32, where scaling helps


def language_layers(
    weights: LanguageWeights,
    dimensions: ModelDimensions,
    prompts: Sequence[NDArray[np.float32]],
    compute: str,
    settings: LayerSettings,
    known: frozenset[int] = frozenset(),
) -> Iterator[LayerResult]:
    """Results from the first layer to the last, computed as they are asked for; none for layers that are `known`.

    prompts: [rows, language_width] each. Raises InputError naming a matrix whose inputs are not finite.
    """
    hidden = [torch.from_numpy(prompt)[None] for prompt in prompts]
    for number in range(dimensions.language_layers):
        layer = _Layer(_HeldWeights(weights), dimensions, number, np.dtype(compute), settings)
        after = layer.observe(hidden)
        if number not in known:
            yield layer.result(hidden, after)
        hidden = after


class _HeldWeights:
    """A layer's tensors in float32, read once."""

    def __init__(self, source: LanguageWeights) -> None:
        self._source = source
        self._held: dict[str, torch.Tensor] = {}

    @property
    def config(self) -> LanguageConstants:
        return self._source.config

    def tensor(self, name: str) -> torch.Tensor:
        if name not in self._held:
            self._held[name] = self._source.tensor(name).float()
        return self._held[name]


class _Layer:
    def __init__(
        self,
        weights: LanguageWeights,
        dimensions: ModelDimensions,
        number: int,
        compute: "np.dtype[np.floating]",
        settings: LayerSettings,
    ) -> None:
        self._weights, self._dimensions, self._number = weights, dimensions, number
        self._compute, self._settings = compute, settings
        self._prefix = f"model.layers.{number}."
        self._inputs: dict[str, RowStatistics] = {}  # by the first matrix of a group

    def observe(self, hidden: list[torch.Tensor]) -> list[torch.Tensor]:
        """Runs the layer over every prompt and keeps what its matrices read."""
        first = {self._prefix + group.matrices[0] for group in GROUPS}

        def look(name: str, rows: torch.Tensor) -> None:
            if name in first:
                if name not in self._inputs:
                    self._inputs[name] = RowStatistics(name, rows.shape[-1], self._settings.sample_rows)
                self._inputs[name].add(rows)

        reference = LanguageReference(self._weights, self._dimensions, look)
        return [reference.layer(rows, self._number) for rows in hidden]

    def result(self, before: list[torch.Tensor], after: list[torch.Tensor]) -> LayerResult:
        """Searches the groups in the order of the layer; compares matrices and the layer as a whole."""
        scales: dict[str, torch.Tensor] = {}
        powers: dict[str, float] = {}
        matrices: dict[str, dict[str, float]] = {}
        for group in GROUPS:
            powers[group.name] = 0.0
            statistics = self._inputs[self._prefix + group.matrices[0]]
            tensors = [self._weights.tensor(self._prefix + name) for name in group.matrices]
            if self._can_fold(group):
                found = search_scale(
                    statistics.rows, statistics.magnitude, tensors, self._rounder(group), self._settings.powers
                )
                powers[group.name] = found.power
                if found.scale is not None:
                    scales[self._prefix + group.name] = found.scale
            scale = scales.get(self._prefix + group.name, torch.ones(()))
            for name, tensor in zip(group.matrices, tensors, strict=True):
                matrices[self._prefix + name] = self._errors(self._prefix + name, tensor, scale, statistics.rows)
        outputs = {method: self._output_error(method, scales, before, after) for method in METHODS}
        return LayerResult(self._number, matrices, outputs, powers, scales)

    def _can_fold(self, group: ScaledGroup) -> bool:
        # With grouped queries a value's channel is read by several heads: one division cannot serve them all.
        shared = self._dimensions.language_heads != self._dimensions.key_value_heads
        return not (shared and group.producer == "self_attn.v_proj.weight")

    def _rounder(self, group: ScaledGroup) -> Round:
        def round_matrix(matrix: torch.Tensor, place: int) -> torch.Tensor:
            return rounded(self._prefix + group.matrices[place], matrix, "int4", self._compute)

        return round_matrix

    def _errors(self, name: str, matrix: torch.Tensor, scale: torch.Tensor, rows: torch.Tensor) -> dict[str, float]:
        exact = float((rows @ matrix.T).square().sum(dtype=torch.float64))

        def error(storage: str, by: torch.Tensor) -> float:
            difference = rounded(name, (matrix * by).contiguous(), storage, self._compute) / by - matrix
            return float(((rows @ difference.T).square().sum(dtype=torch.float64) / max(exact, 1e-30)).sqrt())

        one = torch.ones(())
        return {"int8": error("int8", one), "int4": error("int4", one), "int4 awq": error("int4", scale)}

    def _output_error(
        self, method: str, scales: dict[str, torch.Tensor], before: list[torch.Tensor], after: list[torch.Tensor]
    ) -> float:
        storage, _, awq = method.partition(" ")
        scaled = ScaledWeights(self._weights, scales) if awq else self._weights
        reference = LanguageReference(StoredWeights(scaled, storage, self._compute.name), self._dimensions)
        missed = total = 0.0
        for rows, exact in list(zip(before, after, strict=True))[: self._settings.compared_prompts]:
            missed += float((reference.layer(rows, self._number) - exact).square().sum(dtype=torch.float64))
            total += float((exact - rows).square().sum(dtype=torch.float64))
        return math.sqrt(missed / max(total, 1e-30))
