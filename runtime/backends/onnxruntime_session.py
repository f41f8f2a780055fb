"""Sessions of ONNX Runtime: how a bundle's graph is opened, and never on another provider than the one asked for."""

import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime

from glus_edge.runtime.backends.onnxruntime_errors import loading
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.external_data import external_files
from glus_edge.runtime.bundle.signatures import GraphSignature
from glus_edge.runtime.errors import BundleError, EngineError
from glus_edge.runtime.onnx_rewrite.external_data import model_with_external_file
from glus_edge.runtime.onnx_rewrite.fused_rotary import language_model_with_fused_rotary
from glus_edge.runtime.utils.machine import thread_count
from glus_edge.runtime.utils.process_memory import return_freed_memory

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
# int8 matrices have one scale per column, but ONNX Runtime multiplies them in blocks. Its default of 32 rows is slow:
# 110 x 1024 x 1024 on one core, 49 ms against 12 ms with 128 at accuracy 4, and 54 against 16 at accuracy 1.
_INT8_BLOCK = "128"
_RECORD_PLACES = "session.record_ep_graph_assignment_info"
# Nearly all arithmetic of a graph. One of them on the host means that its tensors are copied there and back at every run.
_PRODUCTS = frozenset({"Attention", "Conv", "FusedConv", "FusedMatMul", "Gemm", "MatMul", "MatMulNBits"})
# Where both packages were installed, files of the one lie over those of the other: both go, one comes back whole.
_INSTALL = {
    CPU: "pip install --force-reinstall onnxruntime",
    CUDA: "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'onnxruntime-gpu[cuda,cudnn]'",
}


@dataclass(frozen=True)
class OnnxRuntimeOptions:
    """How sessions are made."""

    threads: int = 0  # per graph; 0: every core this process may use
    # int4 products: 1 computes in float32 (parity), 4 quantises activations to int8 too (faster, about 5e-3 off)
    int4_accuracy: int = 1
    int8_accuracy: int = 4  # the same for graphs of int8 matrices, where 4 is as far off as the rounding of the weights


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


@dataclass(frozen=True)
class Provider:
    """What runs a session's graph."""

    name: str = CPU
    options: Mapping[str, str] = field(default_factory=dict)  # the provider's own
    settings: Mapping[str, str] = field(default_factory=dict)  # of the session, for this provider


def bundle_session(
    bundle: Bundle, graph: str, options: OnnxRuntimeOptions, provider: Provider
) -> onnxruntime.InferenceSession:
    """A graph of a bundle, ready to run. EngineError: the provider is not here. BundleError: see opened_session."""
    require_provider(provider.name)
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
        on_cpu = provider.name == CPU
        source = language_model_source(path, positions, settings) if on_cpu else _model_with_real_file(path, settings)
    session = opened_session(source, str(path), bundle.signature(graph), settings, provider)
    return_freed_memory()
    return session


def opened_session(
    source: bytes | str,
    what: str,
    signature: GraphSignature,
    settings: onnxruntime.SessionOptions,
    provider: Provider,
) -> onnxruntime.InferenceSession:
    """A session of a graph, given as bytes or by its path; `what` names it in errors.

    BundleError: it cannot be loaded, or its tensors are not the signature's. EngineError: it would run elsewhere than on
    `provider`.
    """
    for key, value in provider.settings.items():
        settings.add_session_config_entry(key, value)
    if provider.name != CPU:
        settings.add_session_config_entry(_RECORD_PLACES, "1")
    with loading(what):
        # Its fallback would print to standard output, and try other providers than the one asked for.
        session = onnxruntime.InferenceSession(
            source, settings, providers=[(provider.name, dict(provider.options))], enable_fallback=False
        )
    used = session.get_providers()
    if used[0] != provider.name:
        raise EngineError(
            f"{what}: asked for {provider.name}, ONNX Runtime fell back to {used[0]}; see `glus-edge doctor`"
        )
    if provider.name != CPU and (elsewhere := products_elsewhere(session, provider.name)):
        raise EngineError(
            f"{what}: asked for {provider.name}, ONNX Runtime runs {', '.join(elsewhere[:3])} elsewhere; use another "
            "--backend, or a newer onnxruntime-gpu"
        )
    _check_interface(what, signature, session)
    return session


def require_provider(name: str) -> None:
    """EngineError: this ONNX Runtime was built without the provider."""
    available = onnxruntime.get_available_providers()
    if name not in available:
        raise EngineError(f"{name}: not in this ONNX Runtime, which has {', '.join(available)}; {_INSTALL[name]}")


def products_elsewhere(session: onnxruntime.InferenceSession, provider: str) -> list[str]:
    """Products that a session runs on another provider than the one asked for, as 'MatMul on CPUExecutionProvider'.

    Other nodes may: what computes shapes is faster on the host. Before version 1.24 ONNX Runtime does not tell.
    """
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return []
    return [
        f"{node.op_type} on {part.ep_name}"
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name != provider
        for node in part.get_nodes()
        if node.op_type in _PRODUCTS
    ]


def _rounds_activations(path: Path) -> bool:
    """Whether a graph computes in int8. One that only stores int8 weights has no operator of this name."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(b"QuantizeLinear") >= 0  # not in DequantizeLinear, which has a small q


def _check_interface(what: str, signature: GraphSignature, session: onnxruntime.InferenceSession) -> None:
    """A graph whose tensors are not the signature's is refused before anything runs."""
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
                    f"{what}: {kind} {tensor.name}: got {types.get(tensor.name)}, expected {wanted}; "
                    "export the bundle again"
                )
            if not _fits(shapes[tensor.name], tensor.shape):
                raise BundleError(
                    f"{what}: {kind} {tensor.name}: got {dimensions(shapes[tensor.name])}, expected "
                    f"{dimensions(tensor.shape)} as manifest.json has it; export the bundle again"
                )


def _fits(found: Sequence[int | str | None], expected: Sequence[int | str]) -> bool:
    """Whether a graph's shape can be the signature's: dimensions of which it says a number have that number."""
    return len(found) == len(expected) and all(
        own == wanted
        for own, wanted in zip(found, expected, strict=True)
        if isinstance(own, int) and isinstance(wanted, int)
    )


def dimensions(shape: Sequence[int | str | None]) -> str:
    """A shape as messages have it: '2 x ? x 64'."""
    return " x ".join("?" if each is None else str(each) for each in shape)


_ORT_TYPES = {
    np.dtype("float32"): "float",
    np.dtype("float16"): "float16",
    np.dtype("int32"): "int32",
    np.dtype("uint8"): "uint8",
}
