"""Which files an ONNX graph keeps its weights in."""

import mmap
from collections.abc import Iterator
from pathlib import Path

from glus_edge.runtime.bundle.wire_format import parts, whole

# Field numbers of onnx.proto.
_GRAPH, _INITIALIZER, _EXTERNAL_DATA, _KEY, _VALUE = 7, 5, 13, 1, 2
_LOCATION = b"location"  # the key of an external tensor's file


def external_files(path: Path) -> set[str]:
    """Names of the files, relative to the graph's folder. ValueError: it is no ONNX graph."""
    if not path.stat().st_size:
        raise ValueError("it is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find(_LOCATION) < 0:  # most graphs: weights within
            return set()
        return set(_locations(content))


def _locations(model: mmap.mmap) -> Iterator[str]:
    for graph in parts(model, whole(model), _GRAPH):
        for tensor in parts(model, graph, _INITIALIZER):
            for entry in parts(model, tensor, _EXTERNAL_DATA):
                if any(model[key.start : key.stop] == _LOCATION for key in parts(model, entry, _KEY)):
                    yield from (str(model[start:stop], "utf-8") for start, stop in parts(model, entry, _VALUE))
