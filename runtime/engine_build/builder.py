"""The engines of a bundle, one graph after the other: compiled and thrown away, or compiled and kept."""

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.precisions import FP16, FP32, precision_of
from glus_edge.runtime.bundle.signatures import GRAPHS, Limits
from glus_edge.runtime.device.cuda_api import Cuda
from glus_edge.runtime.device.cuda_device import CudaDevice
from glus_edge.runtime.engine_build.accuracy_gate import GateSettings, difference, refusal
from glus_edge.runtime.engine_build.float32_reference import Recording
from glus_edge.runtime.engine_build.fusion_report import GraphFusion, graph_fusion
from glus_edge.runtime.engine_build.packed_call import packed_call
from glus_edge.runtime.errors import EngineError
from glus_edge.runtime.onnx_rewrite.encoder_blocks import image_encoder_blocks
from glus_edge.runtime.onnx_rewrite.mixed_precision import model_with_float32_nodes
from glus_edge.runtime.onnx_rewrite.precision import model_in_precision
from glus_edge.runtime.onnx_rewrite.temporary_graph import temporary_graph
from glus_edge.runtime.pixels.preprocess_graph import PREPROCESS_GRAPHS
from glus_edge.runtime.tensorrt.build_progress import BuildMonitor
from glus_edge.runtime.tensorrt.engine import TensorRtEngine
from glus_edge.runtime.tensorrt.graphs import LANGUAGE_MODEL, engine_graph, engine_signature
from glus_edge.runtime.tensorrt.library import TensorRt
from glus_edge.runtime.tensorrt.plan import BuildSettings, Plan, plan_from_onnx
from glus_edge.runtime.tensorrt.precision_search import Candidate, next_candidate
from glus_edge.runtime.tensorrt.store import (
    FOLDER,
    BuildAttempt,
    EngineKey,
    EngineRecord,
    EngineStore,
    engine_key,
    intact,
)

ALL_GRAPHS = (*GRAPHS, *PREPROCESS_GRAPHS)


@dataclass(frozen=True)
class EngineBuild:
    """What engines of a bundle are compiled with and for."""

    bundle: Bundle
    tensorrt: TensorRt
    limits: Limits
    settings: BuildSettings
    monitor: BuildMonitor | None = None


@dataclass(frozen=True)
class AccuracyGate:
    """What engines are compared with, and how far they may be off."""

    recording: Recording
    settings: GateSettings

    def check(
        self, build: EngineBuild, device: CudaDevice, graph: str, candidate: Candidate, plan: Any
    ) -> BuildAttempt:
        """Runs one engine on the recorded inputs of its graph. EngineError: it does not load or run."""
        signature = engine_signature(build.bundle, graph, build.limits)
        engine = TensorRtEngine(build.tensorrt, graph, signature, plan, device)
        try:
            calls = self.recording.calls[graph]
            if graph == LANGUAGE_MODEL:
                calls = [packed_call(call, signature) for call in calls]
            found = difference(engine, calls)
            not_captured = engine.graphs.failure
        finally:
            engine.close()
        reason = refusal(found, self.settings)
        cosine, relative_l2 = (None if math.isnan(x) else x for x in (found.cosine, found.relative_l2))
        return BuildAttempt(
            candidate.precision, cosine, relative_l2, not reason, reason, candidate.raised, not_captured
        )


class CheckedGraph(NamedTuple):
    """A graph that parses and compiles."""

    graph: str
    precision: str  # 'fp32' or 'fp16', and the weights' where they differ: 'fp16, int4 weights'
    layers: int  # of the parsed network
    parse_s: float  # seconds
    build_s: float  # seconds
    plan_bytes: int
    fusion: GraphFusion | None = None  # where TensorRT's log is kept in detail


class BuiltGraph(NamedTuple):
    """A graph whose engine is on disk."""

    record: EngineRecord
    reused: bool  # it was there already
    seconds: float  # this run's


def check_engines(build: EngineBuild, graphs: tuple[str, ...] = ALL_GRAPHS) -> Iterator[CheckedGraph]:
    """Compiles every graph and keeps nothing. EngineError: one does not parse or compile, with the node's name."""
    for graph in graphs:
        with engine_graph(build.bundle, graph) as path:
            plan = _plan(build, graph, path, timing_cache=None)
            details = build.tensorrt.messages.details
            fusion = None if details is None else graph_fusion(path.read_bytes(), details)
        precision = _precision(build.bundle, graph)
        entry = build.bundle.manifest.graphs.get(graph)
        if entry is not None and entry.weights != precision:
            precision += f", {entry.weights} weights"
        yield CheckedGraph(graph, precision, plan.layers, plan.parse_s, plan.build_s, plan.size_bytes, fusion)


def build_engines(
    build: EngineBuild, cuda: Cuda, gate: AccuracyGate | None = None, graphs: tuple[str, ...] = ALL_GRAPHS
) -> Iterator[BuiltGraph]:
    """Compiles the graphs that have no engine of the same key yet, and stores those that the gate lets pass.

    A float16 graph is tried as it is, the image encoder then with named blocks in float32, then all of it in bfloat16 and
    in float32. Without a gate it is stored as it is, and its record says that it was compared with nothing.
    EngineError: no precision compiles and passes.
    """
    store = EngineStore(build.bundle.directory)
    for graph in graphs:
        start = time.perf_counter()
        key = key_of(build, graph, cuda.gpu.label)
        found = [
            record
            for path, record in store.records()
            if record.key == key and (gate is None or record.gate) and intact(path, record)
        ]
        if found:
            yield BuiltGraph(found[0], reused=True, seconds=time.perf_counter() - start)
            continue
        record, plan = _accepted(build, cuda, gate, key)
        yield BuiltGraph(store.save(record, plan.data), reused=False, seconds=time.perf_counter() - start)


def _accepted(build: EngineBuild, cuda: Cuda, gate: AccuracyGate | None, key: EngineKey) -> tuple[EngineRecord, Plan]:
    """The first candidate that compiles and is right on this device, and every attempt up to it."""
    start = _precision(build.bundle, key.graph)
    file = f"{key.graph}.engine"
    if gate is None:
        plan = _compiled(build, cuda, key.graph, Candidate(start))
        return EngineRecord(key, file, plan.size_bytes, plan.build_s, start), plan
    attempts: list[BuildAttempt] = []
    blocks = _blocks(build.bundle, key.graph, start)
    while (
        candidate := next_candidate(start, tuple(blocks), [attempt.relative_l2 for attempt in attempts])
    ) is not None:
        try:
            nodes = frozenset[str]().union(*(blocks[block] for block in candidate.raised))
            plan = _compiled(build, cuda, key.graph, candidate, nodes)
            attempt = gate.check(build, CudaDevice(cuda), key.graph, candidate, plan.data)
        except EngineError as error:
            attempts.append(BuildAttempt(candidate.precision, None, None, False, str(error), candidate.raised))
            continue
        attempts.append(attempt)
        if attempt.accepted:
            record = EngineRecord(
                key, file, plan.size_bytes, plan.build_s, candidate.precision, tuple(attempts), candidate.raised
            )
            return record, plan
    tried = "; ".join(f"{attempt.candidate.label}: {attempt.reason}" for attempt in attempts)
    raise EngineError(f"{key.graph}: no precision is right on this device ({tried}); use --backend onnxruntime")


def _compiled(
    build: EngineBuild, cuda: Cuda, graph: str, candidate: Candidate, raised: frozenset[str] = frozenset()
) -> Plan:
    """The graph's plan in this form; `raised` are the nodes of the blocks it raises."""
    start = _precision(build.bundle, graph)
    with engine_graph(build.bundle, graph) as source, _candidate_file(source, graph, candidate, start, raised) as path:
        return _plan(build, graph, path, timing_cache_path(build, cuda.gpu.label))


def _blocks(bundle: Bundle, graph: str, start: str) -> dict[str, frozenset[str]]:
    """The named blocks that may be raised before the whole graph is."""
    if graph != "image_encoder" or start != FP16:
        return {}
    return image_encoder_blocks(bundle.graph_path(graph).read_bytes())


def _precision(bundle: Bundle, graph: str) -> str:
    """What a graph computes in as it was exported."""
    return FP32 if graph in PREPROCESS_GRAPHS else precision_of(bundle.manifest.graphs[graph].compute)


def _candidate_file(
    path: Path, graph: str, candidate: Candidate, exported: str, raised: frozenset[str]
) -> AbstractContextManager[Path]:
    """The graph's file, or for the moment one beside it that computes in other precisions."""
    if candidate == Candidate(exported):
        return nullcontext(path)
    model = path.read_bytes()
    rewritten = model_with_float32_nodes(model, raised) if raised else model_in_precision(model, candidate.precision)
    return temporary_graph(rewritten, path.parent, f"{graph}.{candidate.precision}")


def key_of(build: EngineBuild, graph: str, gpu: str) -> EngineKey:
    """What the graph's engine of this build depends on."""
    return engine_key(
        build.bundle,
        graph,
        build.tensorrt.library,
        build.tensorrt.version,
        gpu,
        build.limits,
        optimization_level=build.settings.optimization_level,
        workspace_mib=build.settings.workspace_mib,
    )


def timing_cache_path(build: EngineBuild, gpu: str) -> Path | None:
    """Kernel timings of earlier builds on this GPU; TensorRT for RTX chooses kernels when it runs and has none."""
    if build.tensorrt.library != "tensorrt":
        return None
    name = "".join(letter if letter.isalnum() else "_" for letter in f"{build.tensorrt.version}_{gpu}")
    return build.bundle.directory / FOLDER / f"timing_{name}.cache"


def _plan(build: EngineBuild, graph: str, path: Path, timing_cache: Path | None) -> Plan:
    signature = engine_signature(build.bundle, graph, build.limits)
    return plan_from_onnx(
        build.tensorrt, graph, path, signature, build.settings, timing_cache=timing_cache, monitor=build.monitor
    )
