"""Engines that keep count: which graphs ran, at what sizes, and how many bytes went in and out."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from glus_edge.runtime.backends.engine import Backend, Engine
from glus_edge.runtime.backends.wrapped_engine import WrappedEngine
from glus_edge.runtime.bundle.signatures import GraphSignature
from glus_edge.runtime.device.device import Array


class CountedCall(NamedTuple):
    """A call of a graph, as far as its work depends on it."""

    graph: str
    sizes: tuple[tuple[str, int], ...]  # of the signature's axes


@dataclass
class Counts:
    """What ran since the last `drain`."""

    calls: Counter[CountedCall] = field(default_factory=Counter)
    tensor_bytes: int = 0  # of all inputs and outputs


def axis_sizes(signature: GraphSignature, inputs: Mapping[str, Array]) -> dict[str, int]:
    """Of the dimensions that vary, as these inputs have them."""
    return {
        axis: size
        for tensor in signature.inputs
        for axis, size in zip(tensor.shape, inputs[tensor.name].shape, strict=True)
        if isinstance(axis, str)
    }


class CountingEngine(WrappedEngine):
    """An engine and its account."""

    def __init__(self, engine: Engine, backend: "CountingBackend") -> None:
        super().__init__(engine)
        self._backend = backend

    def run(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """See Engine."""
        super().run(inputs, outputs)
        sizes = axis_sizes(self.signature, inputs)
        counts = self._backend.counts
        counts.calls[CountedCall(self.name, tuple(sorted(sizes.items())))] += 1
        counts.tensor_bytes += sum(array.nbytes for array in (*inputs.values(), *outputs.values()))


class CountingBackend:
    """A backend whose engines keep count."""

    def __init__(self, backend: Backend) -> None:
        self.name, self.device = backend.name, backend.device
        self.counts = Counts()
        self._backend = backend

    def open(self, graph: str) -> Engine:
        """See Backend."""
        return CountingEngine(self._backend.open(graph), self)

    def drain(self) -> Counts:
        """The account so far; it starts again from nothing."""
        counts, self.counts = self.counts, Counts()
        return counts
