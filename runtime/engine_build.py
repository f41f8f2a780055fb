"""The engines of a bundle, one graph after the other: compiled and thrown away, or compiled and kept."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from glus_edge.runtime.build_progress import BuildMonitor
from glus_edge.runtime.bundle import Bundle
from glus_edge.runtime.engine_store import FOLDER, EngineKey, EngineRecord, EngineStore, engine_key
from glus_edge.runtime.signatures import GRAPHS, Limits
from glus_edge.runtime.tensorrt_build import BuildSettings, Plan, plan_from_onnx
from glus_edge.runtime.tensorrt_module import TensorRt

PRECISIONS = {"float32": "fp32", "float16": "fp16"}


@dataclass(frozen=True)
class EngineBuild:
    """What engines of a bundle are compiled with and for."""

    bundle: Bundle
    tensorrt: TensorRt
    limits: Limits
    settings: BuildSettings
    monitor: BuildMonitor | None = None


class CheckedGraph(NamedTuple):
    """A graph that parses and compiles."""

    graph: str
    precision: str  # 'fp32' or 'fp16', and the weights' where they differ: 'fp16, int4 weights'
    layers: int  # of the parsed network
    parse_s: float  # seconds
    build_s: float  # seconds
    plan_bytes: int


class BuiltGraph(NamedTuple):
    """A graph whose engine is on disk."""

    record: EngineRecord
    reused: bool  # it was there already
    seconds: float  # this run's


def check_engines(build: EngineBuild, graphs: tuple[str, ...] = GRAPHS) -> Iterator[CheckedGraph]:
    """Compiles every graph and keeps nothing. EngineError: one does not parse or compile, with the node's name."""
    for graph in graphs:
        plan = _plan(build, graph, timing_cache=None)
        entry = build.bundle.manifest.graphs[graph]
        precision = PRECISIONS[entry.compute]
        if entry.weights not in precision:
            precision += f", {entry.weights} weights"
        yield CheckedGraph(graph, precision, plan.layers, plan.parse_s, plan.build_s, plan.size_bytes)


def build_engines(build: EngineBuild, gpu: str, graphs: tuple[str, ...] = GRAPHS) -> Iterator[BuiltGraph]:
    """Compiles the graphs that have no engine of the same key yet and stores them. EngineError: as check_engines.

    `gpu` is the label of the device the engines are compiled on and for.
    """
    store = EngineStore(build.bundle.directory)
    for graph in graphs:
        start = time.perf_counter()
        key = key_of(build, graph, gpu)
        found = [record for _, record in store.records() if record.key == key]
        if found:
            yield BuiltGraph(found[0], reused=True, seconds=time.perf_counter() - start)
            continue
        plan = _plan(build, graph, timing_cache=timing_cache_path(build, gpu))
        precision = PRECISIONS[build.bundle.manifest.graphs[graph].compute]
        record = EngineRecord(key, f"{graph}.engine", plan.size_bytes, plan.build_s, precision)
        store.save(record, plan.data)
        yield BuiltGraph(record, reused=False, seconds=time.perf_counter() - start)


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


def _plan(build: EngineBuild, graph: str, timing_cache: Path | None) -> Plan:
    signature = build.bundle.signature(graph, build.limits)
    path = build.bundle.graph_path(graph)
    return plan_from_onnx(
        build.tensorrt, graph, path, signature, build.settings, timing_cache=timing_cache, monitor=build.monitor
    )
