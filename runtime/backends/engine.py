"""What the loop asks of a backend: run one graph on named tensors. Three verbs: open, run, close."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from glus_edge.runtime.bundle.signatures import GraphSignature, TensorSignature
from glus_edge.runtime.device.device import Array, Device


class Engine(Protocol):
    """One graph, ready to run. Opened by a backend, for one device."""

    name: str
    signature: GraphSignature

    @property
    def device(self) -> Device:
        """Where its tensors live."""

    def run(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """Reads every input and writes the outputs that are given, in place. Arrays lie on `device`."""

    def close(self) -> None:
        """Releases the graph."""


class Backend(Protocol):
    """Opens the graphs of a bundle on one device."""

    name: str

    @property
    def device(self) -> Device:
        """Where the tensors of its engines live."""

    def open(self, graph: str) -> Engine:
        """The engine of a graph of the bundle. EngineError: it cannot be run here."""


def check_tensors(
    graph: str, signature: GraphSignature, inputs: Mapping[str, Array], outputs: Mapping[str, Array]
) -> dict[str, int]:
    """Sizes of the varying dimensions. A tensor that does not fit the signature is our own bug: AssertionError."""
    sizes: dict[str, int] = {}
    for tensor in signature.inputs:
        assert tensor.name in inputs, f"{graph}: input {tensor.name} not given"
        _check(graph, tensor, inputs[tensor.name], sizes)
    known = {tensor.name: tensor for tensor in signature.outputs}
    assert outputs, f"{graph}: no output asked for"
    for name, array in outputs.items():
        assert name in known, f"{graph}: no output {name}"
        _check(graph, known[name], array, sizes)
    return sizes


def _check(graph: str, tensor: TensorSignature, array: Array, sizes: dict[str, int]) -> None:
    what = f"{graph}.{tensor.name}"
    assert array.dtype == np.dtype(tensor.dtype), f"{what}: got {array.dtype}, expected {tensor.dtype}"
    assert len(array.shape) == len(tensor.shape), f"{what}: got shape {array.shape}, expected {tensor.shape}"
    for size, expected in zip(array.shape, tensor.shape, strict=True):
        wanted = sizes.setdefault(expected, size) if isinstance(expected, str) else expected
        assert size == wanted, f"{what}: got shape {array.shape}, expected {tensor.shape} with {sizes}"
