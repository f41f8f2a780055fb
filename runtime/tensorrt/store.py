"""`engines/` of a bundle: one folder per compiled graph, found again by what it was compiled from and for."""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from glus_edge.runtime.bundle.bundle import Bundle, sha256
from glus_edge.runtime.bundle.signatures import Limits
from glus_edge.runtime.errors import BundleError, EngineError
from glus_edge.runtime.tensorrt.graphs import engine_graph_sha256
from glus_edge.runtime.tensorrt.precision_search import Candidate
from glus_edge.runtime.utils.abandoned import remove_abandoned
from glus_edge.runtime.utils.regular_file import read_regular
from glus_edge.runtime.utils.schema import SchemaError, from_json, json_document, to_json

FOLDER = "engines"
RECORD = "engine.json"


@dataclass(frozen=True)
class EngineKey:
    """Everything an engine depends on; a change of any of it means another engine."""

    graph: str
    onnx_sha256: str  # of the graph it was compiled from
    weights_sha256: str  # of the external weights, '' without
    library: str  # 'tensorrt' or 'tensorrt-rtx'
    library_version: str
    gpu: str  # name and compute capability
    limits: Limits
    optimization_level: int = 3
    workspace_mib: int = 0

    @property
    def fingerprint(self) -> str:
        """Name of the engine's folder: 16 hexadecimal digits."""
        text = json.dumps(to_json(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class BuildAttempt:
    """One candidate of a graph tried on the device, against ONNX Runtime in float32 on the same inputs."""

    precision: str  # 'fp16', 'bf16' or 'fp32': what the graph computed in
    cosine: float | None  # smallest over outputs and calls; None: it could not be compiled or run
    relative_l2: float | None  # largest over outputs and calls
    accepted: bool
    reason: str = ""  # why not
    raised: tuple[str, ...] = ()  # named blocks that computed in float32 all the same
    not_captured: str = ""  # why no CUDA graph replays it; '' where one does or none should

    @property
    def candidate(self) -> Candidate:
        """What was compiled."""
        return Candidate(self.precision, self.raised)


@dataclass(frozen=True)
class EngineRecord:
    """engine.json: what lies next to a plan."""

    key: EngineKey
    file: str
    size_bytes: int
    build_s: float
    precision: str  # 'fp16', 'bf16' or 'fp32': the one the gate left
    gate: tuple[BuildAttempt, ...] = field(default=())  # empty: the engine has not been compared with anything
    raised: tuple[str, ...] = ()  # named blocks that compute in float32 all the same
    sha256: str = ""  # of the plan; `save` fills it in

    @property
    def candidate(self) -> Candidate:
        """What was compiled."""
        return Candidate(self.precision, self.raised)


def engine_key(
    bundle: Bundle, graph: str, library: str, library_version: str, gpu: str, limits: Limits, **settings: int
) -> EngineKey:
    """The key of a graph's engine for a library, a device and the largest session it must serve."""
    entry = bundle.manifest.graphs.get(graph)  # None: a graph that makes pixels
    weights = entry.data.sha256 if entry is not None and entry.data is not None else ""
    content = engine_graph_sha256(bundle, graph)
    return EngineKey(graph, content, weights, library, library_version, gpu, limits, **settings)


class EngineStore:
    """The engines of one bundle."""

    def __init__(self, bundle_directory: Path) -> None:
        self.folder = bundle_directory / FOLDER

    def save(self, record: EngineRecord, plan: Any) -> EngineRecord:
        """Writes a plan and its record aside and renames the folder: a half-written engine is never found.

        Returns the record, the plan's SHA-256 in it.
        """
        target = self.folder / record.key.fingerprint
        record = replace(record, sha256=hashlib.sha256(memoryview(plan)).hexdigest())
        remove_abandoned(self.folder, ".*.partial")  # gigabytes, on a board's flash
        aside = self.folder / f".{record.key.fingerprint}.{os.getpid()}.partial"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        try:
            # both on the disk before the rename: a board that loses power must not keep half of either
            _write(aside / record.file, memoryview(plan))
            _write(aside / RECORD, (json.dumps(to_json(record), indent=1) + "\n").encode())
            shutil.rmtree(target, ignore_errors=True)
            aside.rename(target)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return record

    def remove(self, key: EngineKey) -> None:
        """Deletes an engine, if it is there."""
        shutil.rmtree(self.folder / key.fingerprint, ignore_errors=True)

    def records(self) -> list[tuple[Path, EngineRecord]]:
        """Every whole engine: path of its plan, and its record. BundleError: a record that cannot be read or believed."""
        found = []
        for path in sorted(self.folder.glob(f"[!.]*/{RECORD}")):
            try:
                record = from_json(EngineRecord, json_document(read_regular(path)))
            except (OSError, SchemaError) as error:
                raise BundleError(f"{path}: got {error}, expected an engine's record; delete {path.parent}") from error
            if record.file != f"{record.key.graph}.engine" or path.parent.name != record.key.fingerprint:
                raise BundleError(
                    f"{path}: got the file {record.file[:60]!r} and the key {record.key.fingerprint}, expected "
                    f"{record.key.graph[:60]}.engine and the folder's name; delete {path.parent}"
                )
            plan = path.parent / record.file
            if plan.is_file() and plan.stat().st_size == record.size_bytes > 0:
                found.append((plan, record))
        return found

    def find(
        self, bundle: Bundle, graph: str, library: str, library_version: str, gpu: str
    ) -> tuple[Path, EngineRecord]:
        """The engine to run a graph with here, its plan verified.

        EngineError names the first thing in which those that are there differ; BundleError: a plan that was changed.
        """
        command = f"run `glus-edge build {bundle.directory} --backend {library}`"
        candidates = [(path, record) for path, record in self.records() if record.key.graph == graph]
        if not candidates:
            raise EngineError(f"{graph}: got no engine in {self.folder}, expected one for {gpu}; {command}")
        wanted = engine_key(bundle, graph, library, library_version, gpu, Limits())
        for name, what in (
            ("library", "TensorRT library"),
            ("gpu", "GPU"),
            ("library_version", f"{library} version"),
            ("onnx_sha256", "ONNX graph"),
            ("weights_sha256", "weights"),
        ):
            value = getattr(wanted, name)
            matching = [(path, record) for path, record in candidates if getattr(record.key, name) == value]
            if not matching:
                got = getattr(candidates[-1][1].key, name)
                raise EngineError(
                    f"{graph}: got an engine for {what} {_short(got)}, expected {_short(value)}; {command} on this machine"
                )
            candidates = matching
        path, record = max(candidates, key=lambda found: found[0].stat().st_mtime)
        if not intact(path, record):
            raise BundleError(
                f"{path}: got another plan than the one that was built, or one of a version that kept no SHA-256; {command}"
            )
        return path, record


def intact(plan: Path, record: EngineRecord) -> bool:
    """Whether a plan is the one its record was written for."""
    return sha256(plan) == record.sha256


def _write(path: Path, content: bytes | memoryview) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _short(value: str) -> str:
    return value[:16] if len(value) == 64 else value
