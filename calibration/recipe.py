"""The recipe: which matrix of which graph has which precision, by what method, and what that was measured to cost.

A JSON file to be read, edited and applied again. Scales that AWQ found lie beside it, in SCALES.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from glus_edge.export.language.scaled_weights import GROUPS
from glus_edge.runtime.bundle.precisions import FP8, FP16, INT4, INT8
from glus_edge.runtime.errors import InputError
from glus_edge.runtime.utils.atomic_file import write_file
from glus_edge.runtime.utils.schema import SchemaError, from_json, to_json

FORMAT = "glus-edge recipe"
VERSION = 1
RECIPE, SCALES = "recipe.json", "recipe.safetensors"
RANGE = (1e-12, 1e12)  # of reaches and scales: their products and quotients with weights are float32 numbers
SOURCE = "source"  # precision of what stays as the source bundle has it
LANGUAGE_PRECISIONS = (SOURCE, INT8, INT4)
ENCODER_PRECISIONS = (SOURCE, INT8, FP8)
EMBEDDING_PRECISIONS = (SOURCE, FP16, INT8)
_LANGUAGE_GROUP = re.compile(rf"model\.layers\.[0-9]{{1,4}}\.(?:{'|'.join(re.escape(group.name) for group in GROUPS)})")


@dataclass(frozen=True)
class MatrixRecipe:
    """One matrix."""

    precision: str  # one of LANGUAGE_PRECISIONS or ENCODER_PRECISIONS
    method: str = ""  # 'rtn' or 'awq' in the language model; what chose the range of an encoder's inputs
    reach: float | None = None  # encoders: the largest magnitude of the inputs that is represented
    error: dict[str, float] = field(default_factory=dict)  # precision -> relative L2 of its products, on the videos
    # encoders: whose shift divides the inputs ('' for none; SCALES holds it as 'GRAPH/NAME'); reach is of these, divided
    shift: str = ""


@dataclass(frozen=True)
class Recipe:
    """One recipe; what is not named keeps the source's precision."""

    format: str
    version: int
    source: str  # name of the bundle it was made from
    source_sha256: dict[str, str]  # graph -> SHA-256 of its .onnx, to notice another source
    graphs: dict[str, dict[str, MatrixRecipe]]  # graph -> tensor name -> matrix
    token_embedding: str = SOURCE  # one of EMBEDDING_PRECISIONS
    awq: bool = False  # whether the language model's scales are folded in
    provenance: dict[str, str] = field(default_factory=dict)  # videos, counts and methods of the measurement
    measured: dict[str, float] = field(default_factory=dict)  # loss of the whole, bytes
    harm: dict[str, float] = field(default_factory=dict)  # 'graph/unit precision' -> points lost, quantised alone

    def precision(self, graph: str, matrix: str) -> str:
        """Of one matrix."""
        entry = self.graphs.get(graph, {}).get(matrix)
        return entry.precision if entry else SOURCE

    def with_precisions(self, chosen: Mapping[tuple[str, str], str]) -> "Recipe":
        """The same recipe with the precision of every matrix: that of `chosen` (graph, matrix), else the source's."""
        graphs = {
            graph: {
                name: replace(entry, precision=chosen.get((graph, name), SOURCE)) for name, entry in entries.items()
            }
            for graph, entries in self.graphs.items()
        }
        return replace(self, graphs=graphs)


def used_scales(recipe: Recipe, scales: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Those that a bundle of this recipe has folded in: AWQ's if it says so, shifts of matrices that are lowered."""
    shifts = named_shifts(recipe)
    return {name: scale for name, scale in scales.items() if (name in shifts if "/" in name else recipe.awq)}


def named_shifts(recipe: Recipe) -> set[str]:
    """'GRAPH/NAME' of every shift that a matrix in a lower precision names."""
    return {
        f"{graph}/{matrix.shift}"
        for graph, matrices in recipe.graphs.items()
        for matrix in matrices.values()
        if matrix.shift and matrix.precision != SOURCE
    }


def known_shifts(recipe: Recipe) -> set[str]:
    """'GRAPH/NAME' of every shift that a matrix names or could name: a shift has the name of a matrix behind it.

    A shift that was edited out of a recipe may stay in the file of scales.
    """
    return {
        f"{graph}/{known}"
        for graph, matrices in recipe.graphs.items()
        for name, matrix in matrices.items()
        for known in (name, matrix.shift)
    }


def read_recipe(path: Path) -> Recipe:
    """A recipe file, checked value by value. InputError: it is none, or names a precision that does not exist."""
    try:
        document = json.loads(path.read_bytes())
        recipe = from_json(Recipe, document)
        json.dumps(document, allow_nan=False)  # NaN and infinity pass as floats
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}), expected a recipe of `glus-edge calibrate`"
        ) from error
    except (ValueError, SchemaError, RecursionError) as error:
        raise InputError(f"{path}: {error}; expected a recipe of `glus-edge calibrate`") from error
    if recipe.format != FORMAT or recipe.version != VERSION:
        raise InputError(
            f"{path}: got {recipe.format!r} version {recipe.version}, expected {FORMAT!r} version {VERSION}"
        )
    for graph, matrices in recipe.graphs.items():
        allowed = LANGUAGE_PRECISIONS if graph == "language_model" else ENCODER_PRECISIONS
        for name, matrix in matrices.items():
            where = f"{path}: graphs.{graph}.{name}"
            if matrix.precision not in allowed:
                raise InputError(f"{where}.precision: got {matrix.precision!r}, expected one of {', '.join(allowed)}")
            least, most = RANGE
            if graph != "language_model" and matrix.precision != SOURCE and not least <= (matrix.reach or 0) <= most:
                raise InputError(
                    f"{where}.reach: got {matrix.reach}, expected the largest magnitude of its inputs, {least} to {most}"
                )
    if recipe.token_embedding not in EMBEDDING_PRECISIONS:
        raise InputError(
            f"{path}: token_embedding: got {recipe.token_embedding!r}, expected one of {', '.join(EMBEDDING_PRECISIONS)}"
        )
    return recipe


def read_scales(path: Path, recipe: Recipe) -> dict[str, torch.Tensor]:
    """The scales beside a recipe file; none where the recipe says none are folded in. InputError: they are missing."""
    shifts = named_shifts(recipe)
    if not recipe.awq and not shifts:
        return {}
    scales = path.with_name(SCALES)
    try:
        found = load_file(scales)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{scales}: cannot be read ({error}), expected the scales of {path.name}; keep the two together"
        ) from error
    known = known_shifts(recipe)
    for name, scale in found.items():
        if not (scale.dtype == torch.float32 and scale.dim() == 1 and bool((scale > 0).all() & scale.isfinite().all())):
            raise InputError(f"{scales}: {name}: got {scale.dtype} {list(scale.shape)}, expected finite scales above 0")
        least, most = RANGE
        if not bool(((scale >= least) & (scale <= most)).all()):
            raise InputError(
                f"{scales}: {name}: got {float(scale.min()):g} to {float(scale.max()):g}, expected {least} to {most}"
            )
        if not (name in known if "/" in name else _LANGUAGE_GROUP.fullmatch(name)):
            raise InputError(
                f"{scales}: got {name[:60]!r}, expected a shift or a group of {path.name}; keep the two together"
            )
    if missing := sorted(shifts - set(found)):
        raise InputError(
            f"{scales}: got no {missing[0]}, expected the shift that {path.name} names; keep the two together"
        )
    return found


def write_recipe(folder: Path, recipe: Recipe, scales: Mapping[str, torch.Tensor]) -> None:
    """Writes RECIPE, and SCALES if any. OutputError: the folder cannot be written to."""
    if scales:
        write_file(folder / SCALES, save({name: scale.contiguous() for name, scale in scales.items()}))
    write_file(folder / RECIPE, json.dumps(to_json(recipe), indent=1, allow_nan=False).encode() + b"\n")
