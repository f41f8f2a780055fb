"""The language model's weights as a bundle in fp32 or fp16 holds them: what calibration measures and writes anew."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch

from glus_edge.export.language.graph import RMS_NORM_EPS, ROPE_THETA
from glus_edge.export.language.weights import is_language_matrix
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.precisions import DTYPES
from glus_edge.runtime.errors import BundleError

Floating = np.dtype[np.floating[Any]]
# Storages that calibration can start from.
PLAIN: dict[str, Floating] = {
    precision: np.dtype(name) for precision, name in DTYPES.items()
}  # storages that calibration can start from
_TYPES: dict[int, Floating] = {
    onnx.TensorProto.FLOAT: np.dtype("float32"),
    onnx.TensorProto.FLOAT16: np.dtype("float16"),
}


class Constants(NamedTuple):
    """See LanguageConstants."""

    rms_norm_eps: float
    rope_theta: float


class _Stored(NamedTuple):
    dtype: Floating
    shape: tuple[int, ...]
    path: Path
    offset: int  # bytes


class BundleWeights:
    """See LanguageWeights. Tensors are read from the graph's data file one at a time, never mapped."""

    def __init__(self, bundle: Bundle) -> None:
        """Raises BundleError for a bundle whose matrices are rounded already, or that lacks the model's constants."""
        entry = bundle.manifest.graphs["language_model"]
        if entry.weights not in PLAIN:
            raise BundleError(
                f"{bundle.directory}: language_model has {entry.weights} weights, expected fp32 or fp16 to calibrate from; "
                "export the checkpoint with --precision fp32 or fp16 and no --language-weights"
            )
        self._vocabulary = bundle.manifest.model.vocabulary_size
        path = bundle.graph_path("language_model")
        model = onnx.load(path, load_external_data=False)
        metadata = {prop.key: prop.value for prop in model.metadata_props}
        try:
            self.config = Constants(float(metadata[RMS_NORM_EPS]), float(metadata[ROPE_THETA]))
        except (KeyError, ValueError) as error:
            raise BundleError(f"{path}: does not say its {error}; export the bundle again") from error
        self._stored: dict[str, _Stored] = {}
        for tensor in model.graph.initializer:
            if tensor.data_location == onnx.TensorProto.EXTERNAL and tensor.data_type in _TYPES:
                external = {item.key: item.value for item in tensor.external_data}
                self._stored[tensor.name] = _Stored(
                    _TYPES[tensor.data_type],
                    tuple(tensor.dims),
                    path.with_name(external["location"]),
                    int(external.get("offset", "0")),
                )

    def names(self) -> list[str]:
        """The matrices that graphs may store rounded."""
        return [name for name in self._stored if is_language_matrix(name)]

    def shape(self, name: str) -> tuple[int, ...]:
        """[in, out] of a matrix, as the graph stores it."""
        return self._stored[name].shape

    def tensor(self, name: str) -> torch.Tensor:
        """See LanguageWeights: a matrix comes as [out, in], turned back from the graph's [in, out]."""
        if name not in self._stored:
            raise BundleError(f"language_model: has no tensor {name}; export the bundle again")
        stored = self._stored[name]
        count = int(np.prod(stored.shape))
        values = np.fromfile(stored.path, stored.dtype, count, offset=stored.offset)
        tensor = torch.from_numpy(values.reshape(stored.shape))
        if tensor.dim() == 1:
            return tensor
        tensor = tensor.T.contiguous()
        # the graph's lm_head has rows of zeros behind the vocabulary
        return tensor[: self._vocabulary] if name == "lm_head.weight" else tensor
