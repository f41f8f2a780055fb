"""One TensorRT plan from one ONNX graph: strongly typed, its optimisation profile taken from the graph's signature."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from glus_edge.runtime.bundle.signatures import GraphSignature, TensorSignature
from glus_edge.runtime.errors import EngineError
from glus_edge.runtime.tensorrt.build_progress import BuildMonitor, progress_monitor, run_cancellable
from glus_edge.runtime.tensorrt.library import TensorRt, create, tensor_types


@dataclass(frozen=True)
class BuildSettings:
    """What the compiler is told beyond the graph itself; part of an engine's fingerprint."""

    optimization_level: int = 3  # 0..5: how long TensorRT looks for faster kernels
    workspace_mib: int = 0  # scratch memory of one layer at most; 0: TensorRT's own limit, all of the device
    compute_capability: str = ""  # TensorRT for RTX only, '8.9': compile for this GPU; '': for the one that is here


class Plan(NamedTuple):
    """A compiled graph."""

    data: Any  # serialised engine: a buffer
    layers: int  # of the network as parsed
    parse_s: float  # seconds
    build_s: float  # seconds

    @property
    def size_bytes(self) -> int:
        """Size of the serialised engine."""
        return memoryview(self.data).nbytes


def plan_from_onnx(
    tensorrt: TensorRt,
    graph: str,
    path: Path,
    signature: GraphSignature,
    settings: BuildSettings,
    *,
    timing_cache: Path | None = None,
    monitor: BuildMonitor | None = None,
) -> Plan:
    """Compiles `path`. Precision is what the ONNX says: TF32 is off, so that float32 means float32.

    Errors: EngineError naming the node that cannot be parsed, or TensorRT's own reason. KeyboardInterrupt stops the
    build at its next step.
    """
    return run_cancellable(
        lambda: _compiled(tensorrt, graph, path, signature, settings, timing_cache, monitor), monitor
    )


def _compiled(
    tensorrt: TensorRt,
    graph: str,
    path: Path,
    signature: GraphSignature,
    settings: BuildSettings,
    timing_cache: Path | None,
    monitor: BuildMonitor | None,
) -> Plan:
    api = tensorrt.api
    tensorrt.messages.clear()
    builder = create(tensorrt, api.Builder, "compile")
    network = builder.create_network(1 << int(api.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parse_s = _parse(tensorrt, network, path)
    _check_interface(api, graph, network, signature)
    config = builder.create_builder_config()
    config.clear_flag(api.BuilderFlag.TF32)
    config.builder_optimization_level = settings.optimization_level
    if settings.workspace_mib:
        config.set_memory_pool_limit(api.MemoryPoolType.WORKSPACE, settings.workspace_mib << 20)
    if settings.compute_capability:
        _set_target(tensorrt, config, settings.compute_capability)
    if tensorrt.messages.details is not None:
        config.profiling_verbosity = api.ProfilingVerbosity.DETAILED
    # One profile for all sizes: TensorRT for RTX keeps the weights once for each.
    config.add_optimization_profile(_profile(builder, signature))
    if monitor is not None:
        config.progress_monitor = progress_monitor(api, monitor)
    cache = _timing_cache(tensorrt, config, timing_cache)
    start = time.perf_counter()
    data = builder.build_serialized_network(network, config)
    build_s = time.perf_counter() - start
    if data is None:
        reason = tensorrt.messages.first_error()
        mend = "export the bundle again, or use --backend onnxruntime"
        if "memory" in reason.lower():
            mend = (
                "free memory of the device, or build with smaller limits (--sentences, --past-tokens, --new-tokens); "
                "`glus-edge doctor --bundle BUNDLE` says what a bundle needs"
            )
        raise EngineError(f"{path}: {tensorrt.library} {tensorrt.version} cannot compile it: {reason}; {mend}")
    if cache is not None and timing_cache is not None:
        _save(config.get_timing_cache(), timing_cache)
    return Plan(data, int(network.num_layers), parse_s, build_s)


def context_count(signature: GraphSignature) -> int:
    """One, or one for each size where a dimension has only some."""
    return max([1, *(len(axis.sizes) for axis in signature.axes.values())])


def context_index(signature: GraphSignature, sizes: Mapping[str, int]) -> int:
    """Which context runs these sizes."""
    for name, axis in signature.axes.items():
        if axis.sizes and name in sizes:
            assert sizes[name] in axis.sizes, f"{name}: got {sizes[name]}, expected one of {axis.sizes}"
            return axis.sizes.index(sizes[name])
    return 0


def profile_shape(tensor: TensorSignature, signature: GraphSignature, bound: str) -> tuple[int, ...]:
    """A tensor's shape at the 'minimum', 'optimum' or 'maximum' of every varying dimension."""
    return tuple(size if isinstance(size, int) else getattr(signature.axes[size], bound) for size in tensor.shape)


def _parse(tensorrt: TensorRt, network: Any, path: Path) -> float:
    start = time.perf_counter()
    parser = tensorrt.api.OnnxParser(network, tensorrt.logger)
    # from the file, not from bytes: external weights are found next to it
    if not parser.parse_from_file(str(path)):
        error = parser.get_error(0) if parser.num_errors else None
        what = f"node {error.node_name()} ({error.node_operator()}): {error.desc()}" if error else "no node named"
        raise EngineError(
            f"{path}: {tensorrt.library} {tensorrt.version} cannot read it: {' '.join(what.split())[:300]}; "
            "export the bundle again, or use --backend onnxruntime"
        )
    return time.perf_counter() - start


def _check_interface(api: Any, graph: str, network: Any, signature: GraphSignature) -> None:
    """The network's tensors are the signature's, or the bundle and this package do not belong together."""
    names = tensor_types(api)
    for kind, expected, count, get in (
        ("input", signature.inputs, network.num_inputs, network.get_input),
        ("output", signature.outputs, network.num_outputs, network.get_output),
    ):
        found = {get(i).name: get(i).dtype for i in range(count)}
        for tensor in expected:
            if names.get(found.get(tensor.name)) != tensor.dtype:
                raise EngineError(
                    f"{graph}: {kind} {tensor.name}: got {found.get(tensor.name)}, expected {tensor.dtype}; "
                    "export the bundle again"
                )


def _profile(builder: Any, signature: GraphSignature) -> Any:
    profile = builder.create_optimization_profile()
    for tensor in signature.inputs:
        bounds = (profile_shape(tensor, signature, bound) for bound in ("minimum", "optimum", "maximum"))
        profile.set_shape(tensor.name, *bounds)
    return profile


def _set_target(tensorrt: TensorRt, config: Any, capability: str) -> None:
    known = getattr(tensorrt.api, "ComputeCapability", None)
    name = "SM" + capability.replace(".", "")
    if known is None or not hasattr(known, name):
        targets = (
            ", ".join(n for n in getattr(known, "__members__", ()) if n.startswith("SM")) or "the GPU that is here"
        )
        raise EngineError(
            f"compute capability: got {capability}, expected one {tensorrt.library} can target: {targets}"
        )
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(known, name), 0)


def _timing_cache(tensorrt: TensorRt, config: Any, path: Path | None) -> Any:
    """The measurements of earlier builds, if they were made by this TensorRT on this GPU; otherwise none."""
    if path is None:
        return None
    stored = path.read_bytes() if path.is_file() else b""
    cache = config.create_timing_cache(stored)
    if stored and not config.set_timing_cache(cache, False):
        # of another version or GPU: worthless, and only a cache
        cache = config.create_timing_cache(b"")
        stored = b""
    if not stored:
        config.set_timing_cache(cache, False)
    return cache


def _save(cache: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".partial")
    aside.write_bytes(memoryview(cache.serialize()))
    aside.replace(path)
