"""A recipe's numbers may be far from what a graph's types hold: what was written is looked at before it is a bundle."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from glus_edge.runtime.errors import InputError

_FLOATING = (TensorProto.FLOAT, TensorProto.FLOAT16)


def check_finite(path: Path) -> None:
    """InputError: a constant of the graph, one in its data file too, holds NaN or infinity. One is read at a time."""
    for tensor in onnx.load(path, load_external_data=False).graph.initializer:
        if tensor.data_type not in _FLOATING:
            continue
        if not np.isfinite(numpy_helper.to_array(tensor, base_dir=str(path.parent))).all():
            raise InputError(
                f"recipe: {path.stem}: {tensor.name} would hold NaN or infinity, expected numbers; give a smaller reach, or "
                "scales nearer to 1"
            )
