"""What the image towers' matrices read on real frames, how far their 8 bits should reach, and what each loses to them."""

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from glus_edge.calibration.methods.graph_matrices import GraphMatrix, graph_matrices
from glus_edge.calibration.methods.norm_groups import norm_groups
from glus_edge.calibration.methods.qdq import EightBits, rounded_inputs, rounded_weights
from glus_edge.calibration.methods.ranges import LEVELS, METHODS, MagnitudeHistogram
from glus_edge.calibration.methods.smoothquant import candidate_shifts
from glus_edge.calibration.statistics.row_statistics import RowStatistics
from glus_edge.calibration.statistics.tensor_probe import Feeds, observe
from glus_edge.calibration.videos.calibration_video import CalibrationVideo
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.pixels.preprocess import clip_pixels, sam_pixels

ENCODERS = ("clip_encoder", "image_encoder")
COUNTED_VALUES = 1 << 20  # of a tensor, in its histogram; the largest magnitude is over all
HELPS = 0.8  # a shift is taken if it leaves at most this share of the squared error behind a norm
AUTO = "auto"  # whichever of METHODS loses least on the sampled rows


@dataclass(frozen=True)
class MatrixRange:
    """One matrix of an encoder."""

    matrix: GraphMatrix
    reach: dict[str, float]  # precision -> largest magnitude of its inputs that is represented
    method: dict[str, str]  # precision -> the one of METHODS that gave it
    error: dict[str, float]  # precision -> relative L2 of its products; NaN for kernels wider than a pixel
    shift: str = ""  # the group whose shift its inputs have; reach and error are then of the shifted ones


@dataclass(frozen=True)
class EncoderRanges:
    """All matrices of an encoder."""

    ranges: list[MatrixRange]
    shifts: dict[str, NDArray[np.float32]]  # group -> [K], where a shift helps


class _Inputs(NamedTuple):
    """What is known of a tensor that matrices read."""

    rows: NDArray[np.float32]  # [n, K]
    largest: NDArray[np.float32]  # [K], over all rows ever seen
    histogram: MagnitudeHistogram

    def shifted(self, shift: NDArray[np.float32]) -> "_Inputs":
        """Divided. Of all rows only the largest magnitude is known then: the histogram is for 'max' alone."""
        largest, histogram = self.largest / shift, MagnitudeHistogram()
        histogram.add(largest.max(keepdims=True))
        return _Inputs(self.rows / shift, largest, histogram)


def encoder_feeds(bundle: Bundle, videos: Sequence[CalibrationVideo], images: int) -> dict[str, Feeds]:
    """Pixels of up to `images` frames spread over the videos, as both towers get them. Errors: VideoError."""
    frames = []
    for number, video in enumerate(videos[:images]):
        share = -(-(images - number) // len(videos))  # the first videos give one more where it does not divide
        with closing(video.open()) as opened:
            places = np.linspace(0, opened.frame_count - 1, min(share, opened.frame_count)).astype(int)
            frames += [opened.read(int(place)).rgb for place in places]
    manifest = bundle.manifest
    return {
        "clip_encoder": [{"clip_pixels": clip_pixels(rgb, manifest.clip)[None]} for rgb in frames],
        "image_encoder": [{"sam_pixels": sam_pixels(rgb, manifest.sam)[None]} for rgb in frames],
    }


def encoder_ranges(
    model: onnx.ModelProto,
    feeds: Feeds,
    precisions: Sequence[str],
    method: str = AUTO,
    shift: bool = False,
    sample_rows: int = 256,
) -> EncoderRanges:
    """Ranges of every matrix of a graph, and shifts behind its norms. InputError: a matrix's inputs are not finite."""
    matrices = graph_matrices(model)
    inputs = _observed(model, matrices, feeds, sample_rows)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    weights = {matrix.name: numpy_helper.to_array(tensors[matrix.name]).astype(np.float32) for matrix in matrices}
    found = {
        matrix.name: _range(matrix, weights[matrix.name], inputs[matrix.value], precisions, method)
        for matrix in matrices
    }
    shifts: dict[str, NDArray[np.float32]] = {}
    known = {matrix.name: matrix for matrix in matrices}
    for group in norm_groups(model, matrices) if shift else ():
        least = HELPS * _harm(found[name] for name in group.matrices)
        largest = inputs[known[group.name].value].largest
        for candidate in candidate_shifts(largest, [weights[name] for name in group.matrices]):
            moved = [
                replace(
                    _range(
                        known[name],
                        weights[name] * candidate[:, None],
                        inputs[known[name].value].shifted(candidate),
                        precisions,
                        "max",
                    ),
                    shift=group.name,
                )
                for name in group.matrices
            ]
            if _harm(moved) < least:
                least, shifts[group.name] = _harm(moved), candidate
                found |= {each.matrix.name: each for each in moved}
    return EncoderRanges(list(found.values()), shifts)


def _harm(ranges: Iterable[MatrixRange]) -> float:
    return sum(error**2 for each in ranges for error in each.error.values())


def _observed(
    model: onnx.ModelProto, matrices: Sequence[GraphMatrix], feeds: Feeds, sample_rows: int
) -> dict[str, _Inputs]:
    values = list(dict.fromkeys(matrix.value for matrix in matrices))
    readers = {matrix.value: matrix.name for matrix in reversed(matrices)}
    channels_first = {matrix.value for matrix in matrices if matrix.operator == "Conv"}
    histograms = {value: MagnitudeHistogram() for value in values}
    samples: dict[str, RowStatistics] = {}
    for name, value in observe(model, values, feeds):
        rows = torch.from_numpy(np.ascontiguousarray(_rows(value, name in channels_first)))
        if name not in samples:
            samples[name] = RowStatistics(readers[name], rows.shape[-1], sample_rows)
        samples[name].add(rows)
        flat = value.ravel()
        histograms[name].add(flat[:: max(1, flat.size // COUNTED_VALUES)])
        histograms[name].add(np.array([np.abs(value).max()]))
    return {
        name: _Inputs(sample.rows.numpy(), sample.largest.numpy(), histograms[name]) for name, sample in samples.items()
    }


def _range(
    matrix: GraphMatrix, weights: NDArray[np.float32], inputs: _Inputs, precisions: Sequence[str], method: str
) -> MatrixRange:
    reach: dict[str, float] = {}
    chosen: dict[str, str] = {}
    error: dict[str, float] = {}
    for precision in precisions:
        tried = METHODS if method == AUTO else (method,)
        choices = {name: EightBits(precision, inputs.histogram.reach(name, LEVELS[precision])) for name in tried}
        errors = {name: product_error(matrix, weights, inputs.rows, choice) for name, choice in choices.items()}
        # wider kernels are not compared: there the least error of the inputs decides
        best = (
            "mse" if method == AUTO and np.isnan(list(errors.values())).any() else min(errors, key=errors.__getitem__)
        )
        reach[precision], chosen[precision], error[precision] = choices[best].reach, best, errors[best]
    return MatrixRange(matrix, reach, chosen, error)


def product_error(
    matrix: GraphMatrix, weights: NDArray[np.float32], rows: NDArray[np.float32], choice: EightBits
) -> float:
    """Relative L2 of the products of rows [n, K], inputs and weights rounded; NaN for a kernel wider than a pixel."""
    rounded = rounded_weights(weights, matrix.output_axis, choice.precision)
    if matrix.operator == "Conv":
        if weights.shape[2:] != (1, 1) or weights.shape[1] != rows.shape[1]:
            return float("nan")
        weights, rounded = weights[:, :, 0, 0].T, rounded[:, :, 0, 0].T
    exact = rows @ weights
    difference = rounded_inputs(rows, choice) @ rounded - exact
    return float(np.linalg.norm(difference) / max(float(np.linalg.norm(exact)), 1e-30))


def _rows(value: NDArray[Any], channels_first: bool) -> NDArray[np.float32]:
    moved = np.moveaxis(value, 1, -1) if channels_first else value
    return moved.reshape(-1, moved.shape[-1]).astype(np.float32)
