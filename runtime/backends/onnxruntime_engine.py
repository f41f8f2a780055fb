"""ONNX Runtime as the engine: IO binding over caller-owned memory, and never another provider than the one asked for."""

import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from glus_edge.runtime.backends.engine import Engine, check_tensors
from glus_edge.runtime.backends.onnxruntime_errors import ERRORS, first_line, loading
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.external_data import external_files
from glus_edge.runtime.device.device import Array, Device, HostDevice, host_array
from glus_edge.runtime.errors import BundleError, EngineError
from glus_edge.runtime.onnx_rewrite.external_data import model_with_external_file
from glus_edge.runtime.onnx_rewrite.fused_rotary import language_model_with_fused_rotary
from glus_edge.runtime.utils.machine import thread_count
from glus_edge.runtime.utils.process_memory import return_freed_memory

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
# int8 matrices have one scale per column, but ONNX Runtime multiplies them in blocks. Its default of 32 rows is slow:
# 110 x 1024 x 1024 on one core, 49 ms against 12 ms with 128 at accuracy 4, and 54 against 16 at accuracy 1.
_INT8_BLOCK = "128"
_SHAPES_SHOWN = 4  # the language model has two inputs a layer more
_INSTALL = {"cpu": "pip install onnxruntime", "cuda": "pip install onnxruntime-gpu"}


@dataclass(frozen=True)
class OnnxRuntimeOptions:
    """How sessions are made."""

    provider: str = "cpu"  # 'cpu' or 'cuda'
    threads: int = 0  # per graph; 0: every core this process may use
    # int4 products: 1 computes in float32 (parity), 4 quantises activations to int8 too (faster, about 5e-3 off)
    int4_accuracy: int = 1
    int8_accuracy: int = 4  # the same for graphs of int8 matrices, where 4 is as far off as the rounding of the weights


class OnnxRuntimeEngine:
    """One graph in an ONNX Runtime session."""

    def __init__(self, bundle: Bundle, graph: str, device: Device, options: OnnxRuntimeOptions) -> None:
        self.name = graph
        self.signature = bundle.signature(graph)
        self.device = device
        self._session = _session(bundle, graph, options)
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
            shapes = ", ".join(
                f"{name} {_dimensions(value.shape)}" for name, value in [*inputs.items()][:_SHAPES_SHOWN]
            )
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


def session_settings(options: OnnxRuntimeOptions, accuracy: int) -> onnxruntime.SessionOptions:
    """How a session runs. accuracy: of the products of rounded matrices, see OnnxRuntimeOptions."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = thread_count(options.threads)
    settings.log_severity_level = 4  # what goes wrong is raised, and said once
    # Each of the six sessions has threads of its own. Spinning after a graph has run, they take the cores from the next
    # graph: measured on two cores, 7 ms a frame without and 60 to 100 ms with. Spinning that stops with each run
    # (session.force_spinning_stop) is 2 to 5% faster on idle cores, and twice as slow where anything else runs.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Patterns are planned for one shape, and shapes vary here: without them the same speed at 0.7 times the peak memory.
    settings.enable_mem_pattern = False
    settings.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", str(accuracy))
    settings.add_session_config_entry("session.qdq_matmulnbits_block_size", _INT8_BLOCK)
    return settings


def language_model_source(path: Path, max_positions: int, settings: onnxruntime.SessionOptions) -> bytes:
    """A language model's graph as a session on the CPU is given it; `settings` are told where its weights lie.

    BundleError: it is no graph.
    """
    try:
        model = _model_with_real_file(path, settings)
        return language_model_with_fused_rotary(model, max_positions) or model
    except (ValueError, LookupError, RecursionError) as error:
        raise BundleError(
            f"{path}: not an ONNX graph as export writes it ({error}); export the bundle again"
        ) from error


def _model_with_real_file(path: Path, settings: onnxruntime.SessionOptions) -> bytes:
    """The graph; where the file of its weights is a link, as in a hub's cache, the graph names the file itself.

    ONNX Runtime refuses links that lead out of the folder. ValueError: it is no ONNX graph.
    """
    model, folder = path.read_bytes(), path.parent
    names = external_files(path)
    if len(names) == 1:
        (name,) = names
        file = (path.parent / name).resolve()
        folder, model = file.parent, model if file.name == name else model_with_external_file(model, file.name)
    settings.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    return model


def _session(bundle: Bundle, graph: str, options: OnnxRuntimeOptions) -> onnxruntime.InferenceSession:
    if options.provider not in _PROVIDERS:
        raise EngineError(f"provider: got {options.provider!r}, expected one of {', '.join(_PROVIDERS)}")
    provider = _PROVIDERS[options.provider]
    available = onnxruntime.get_available_providers()
    if provider not in available:
        raise EngineError(
            f"{provider}: not in this ONNX Runtime, which has {', '.join(available)}; {_INSTALL[options.provider]}"
        )
    int8 = bundle.manifest.graphs[graph].weights == "int8"
    settings = session_settings(options, options.int8_accuracy if int8 else options.int4_accuracy)
    path = bundle.graph_path(graph)
    if int8 and graph != "language_model" and not _rounds_activations(path):
        # int8 is how these weights are stored: made float32 once, when the graph is loaded. As they are, each run would
        # unpack the kernels again: 8.7 ms against 5.4 for the small model's image encoder.
        settings.add_session_config_entry("session.disable_quant_qdq", "1")
    source: bytes | str = str(path)
    if graph == "language_model":
        positions = bundle.manifest.model.max_positions
        cpu = options.provider == "cpu"
        source = language_model_source(path, positions, settings) if cpu else _model_with_real_file(path, settings)
    with loading(path):
        # Its fallback would print to standard output, and try other providers than the one asked for.
        session = onnxruntime.InferenceSession(source, settings, providers=[provider], enable_fallback=False)
    used = session.get_providers()
    if used[0] != provider:
        raise EngineError(f"{path}: asked for {provider}, ONNX Runtime fell back to {used[0]}; see `glus-edge doctor`")
    _check_interface(bundle, graph, session)
    return_freed_memory()
    return session


def _rounds_activations(path: Path) -> bool:
    """Whether a graph computes in int8. One that only stores int8 weights has no operator of this name."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(b"QuantizeLinear") >= 0  # not in DequantizeLinear, which has a small q


def _check_interface(bundle: Bundle, graph: str, session: onnxruntime.InferenceSession) -> None:
    """A graph whose tensors are not the signature's is refused before anything runs."""
    signature = bundle.signature(graph)
    for kind, expected, found in (
        ("input", signature.inputs, session.get_inputs()),
        ("output", signature.outputs, session.get_outputs()),
    ):
        types = {tensor.name: tensor.type for tensor in found}
        shapes = {tensor.name: tensor.shape for tensor in found}
        for tensor in expected:
            wanted = f"tensor({_ORT_TYPES[np.dtype(tensor.dtype)]})"
            if types.get(tensor.name) != wanted:
                raise BundleError(
                    f"{bundle.graph_path(graph)}: {kind} {tensor.name}: got {types.get(tensor.name)}, expected {wanted}; "
                    "export the bundle again"
                )
            if not _fits(shapes[tensor.name], tensor.shape):
                raise BundleError(
                    f"{bundle.graph_path(graph)}: {kind} {tensor.name}: got {_dimensions(shapes[tensor.name])}, expected "
                    f"{_dimensions(tensor.shape)} as manifest.json has it; export the bundle again"
                )


def _fits(found: Sequence[int | str | None], expected: Sequence[int | str]) -> bool:
    """Whether a graph's shape can be the signature's: dimensions of which it says a number have that number."""
    return len(found) == len(expected) and all(
        own == wanted
        for own, wanted in zip(found, expected, strict=True)
        if isinstance(own, int) and isinstance(wanted, int)
    )


def _dimensions(shape: Sequence[int | str | None]) -> str:
    return " x ".join("?" if each is None else str(each) for each in shape)


_ORT_TYPES = {np.dtype("float32"): "float", np.dtype("float16"): "float16", np.dtype("int32"): "int32"}
