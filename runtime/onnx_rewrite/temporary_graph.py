"""A rewritten graph as a file for as long as a compiler or a session needs it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glus_edge.runtime.utils.abandoned import remove_abandoned


@contextmanager
def temporary_graph(content: bytes, folder: Path, name: str) -> Iterator[Path]:
    """A file `.NAME.PROCESS.onnx` that holds the graph and is removed afterwards.

    `folder` is that of the graph it was made from: external weights, which may be gigabytes, are found beside a graph.
    What a killed process left there is removed too.
    """
    remove_abandoned(folder, ".*.onnx")
    path = folder / f".{name}.{os.getpid()}.onnx"
    try:
        path.write_bytes(content)
        yield path
    finally:
        path.unlink(missing_ok=True)
