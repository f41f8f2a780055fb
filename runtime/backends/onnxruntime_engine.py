"""ONNX Runtime on the processor as the engine: IO binding over caller-owned memory."""

from collections.abc import Mapping

from glus_edge.runtime.backends.engine import Engine, check_tensors
from glus_edge.runtime.backends.onnxruntime_errors import ERRORS, first_line
from glus_edge.runtime.backends.onnxruntime_session import (
    OnnxRuntimeOptions,
    Provider,
    bundle_session,
    dimensions,
)
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.device.device import Array, Device, HostDevice, host_array
from glus_edge.runtime.errors import EngineError

_SHAPES_SHOWN = 4  # the language model has two inputs a layer more


class OnnxRuntimeEngine:
    """One graph in an ONNX Runtime session."""

    def __init__(self, bundle: Bundle, graph: str, device: Device, options: OnnxRuntimeOptions) -> None:
        self.name = graph
        self.signature = bundle.signature(graph)
        self.device = device
        self._session = bundle_session(bundle, graph, options, Provider())
        self._binding = self._session.io_binding()

    def run(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """See Engine. Only the outputs given are fetched."""
        check_tensors(self.name, self.signature, inputs, outputs)
        binding = self._binding
        try:
            for name, value in inputs.items():
                array = host_array(value)
                binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
            for name, value in outputs.items():
                array = host_array(value)
                binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
            self._session.run_with_iobinding(binding)
        except ERRORS as error:
            shapes = ", ".join(f"{name} {dimensions(value.shape)}" for name, value in [*inputs.items()][:_SHAPES_SHOWN])
            raise EngineError(
                f"{self.name}: ONNX Runtime failed on {shapes}: {first_line(error)}; export the bundle again"
            ) from error
        finally:
            binding.clear_binding_inputs()
            binding.clear_binding_outputs()

    def close(self) -> None:
        """Drops the session; its memory goes with it."""
        del self._binding, self._session


class OnnxRuntimeBackend:
    """Opens a bundle's graphs with ONNX Runtime."""

    name = "onnxruntime"

    def __init__(self, bundle: Bundle, options: OnnxRuntimeOptions | None = None) -> None:
        self.device: Device = HostDevice()
        self._bundle = bundle
        self._options = options or OnnxRuntimeOptions()

    def open(self, graph: str) -> Engine:
        """See Backend."""
        return OnnxRuntimeEngine(self._bundle, graph, self.device, self._options)
