"""Runs a graph and shows tensors from inside it, a bounded number of bytes at a time."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from glus_edge.runtime.utils.machine import usable_threads

Feeds = Sequence[Mapping[str, NDArray[Any]]]
LIMIT_BYTES = 512 * 1024 * 1024


class TensorObservation(NamedTuple):
    """One tensor in one run."""

    name: str
    value: NDArray[Any]


def observe(
    model: onnx.ModelProto, tensors: Sequence[str], feeds: Feeds, limit_bytes: int = LIMIT_BYTES
) -> Iterator[TensorObservation]:
    """Every tensor of every run, in groups that fit into `limit_bytes`; the graph runs once a group and feed."""
    if not feeds or not tensors:
        return
    for group in _groups(model, tensors, feeds[0], limit_bytes):
        session = _session(model, group)
        for feed in feeds:
            for name, value in zip(group, session.run(group, dict(feed)), strict=True):
                yield TensorObservation(name, value)


def _groups(
    model: onnx.ModelProto, tensors: Sequence[str], feed: Mapping[str, NDArray[Any]], limit_bytes: int
) -> list[list[str]]:
    """Tensors split by what they take, measured on one run that gives their shapes alone."""
    shaped = onnx.ModelProto()
    shaped.CopyFrom(model)
    shapes = [f"{name}/observed_shape" for name in tensors]
    for name, shape in zip(tensors, shapes, strict=True):
        shaped.graph.node.append(onnx.helper.make_node("Shape", [name], [shape]))
    sizes = _session(shaped, shapes).run(shapes, dict(feed))
    groups: list[list[str]] = [[]]
    room = limit_bytes
    for name, size in zip(tensors, sizes, strict=True):
        needed = 4 * int(np.prod(size))
        if needed > room and groups[-1]:
            groups.append([])
            room = limit_bytes
        groups[-1].append(name)
        room -= needed
    return groups


def _session(model: onnx.ModelProto, outputs: Sequence[str]) -> onnxruntime.InferenceSession:
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    del exposed.graph.output[:]
    exposed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = usable_threads()
    return onnxruntime.InferenceSession(exposed.SerializeToString(), options, providers=["CPUExecutionProvider"])
