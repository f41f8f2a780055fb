"""Where half precision would overflow, found in float32: ONNX Runtime's CPU keeps what stands between two half-precision
nodes in float32, so that comparing graphs there does not tell.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn

LARGEST = torch.finfo(torch.float16).max


class LayerPeak(NamedTuple):
    """The layer that reaches furthest."""

    layer: str  # its name in the module, or the matrix that reads the value
    value: float  # largest magnitude


class LayerPeaks:
    """The furthest of every graph; whoever computes in float32 shows what it computes."""

    def __init__(self) -> None:
        self._found: dict[str, LayerPeak] = {}

    def record(self, graph: str, layer: str, values: torch.Tensor) -> None:
        """Notes the largest magnitude of what a layer gives, or a matrix reads."""
        value = max(abs(bound.item()) for bound in values.detach().aminmax())
        value = math.inf if math.isnan(value) else value  # NaN is larger than nothing, and would hide what comes later
        if graph not in self._found or value > self._found[graph].value:
            self._found[graph] = LayerPeak(layer, value)

    def beyond(self) -> dict[str, LayerPeak]:
        """Of the graphs that float16 cannot compute."""
        return {graph: peak for graph, peak in self._found.items() if peak.value > LARGEST}

    @contextmanager
    def recording(self, graphs: Mapping[str, nn.Module]) -> Iterator[None]:
        """While it is open, every tensor that a layer of these modules gives is seen."""

        def hook(graph: str, layer: str) -> Callable[[nn.Module, Any, Any], None]:
            def record_output(module: nn.Module, inputs: Any, output: Any) -> None:
                if isinstance(output, torch.Tensor):
                    self.record(graph, layer, output)

            return record_output

        handles = [
            layer.register_forward_hook(hook(graph, name or graph))
            for graph, module in graphs.items()
            for name, layer in module.named_modules()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
