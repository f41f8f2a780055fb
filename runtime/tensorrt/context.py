"""Execution contexts: their scratch memory is the caller's, and TensorRT for RTX keeps the kernels it compiles on disk."""

import os
from pathlib import Path
from typing import Any

from glus_edge.runtime.tensorrt.library import TensorRt
from glus_edge.runtime.utils.atomic_file import write_file


class RuntimeCache:
    """Kernels that TensorRT for RTX compiled for this GPU when an engine first ran: without them every start does so."""

    def __init__(self, tensorrt: TensorRt, engine: Any, path: Path | None) -> None:
        """`path`: where they are kept; None: nowhere."""
        self.config = engine.create_runtime_config()
        self.config.set_execution_context_allocation_strategy(
            tensorrt.api.ExecutionContextAllocationStrategy.USER_MANAGED
        )
        # kernels for these shapes at once: a fallback that is exchanged later would stay in a graph captured before
        eager = tensorrt.api.DynamicShapesKernelSpecializationStrategy.EAGER
        self.config.dynamic_shapes_kernel_specialization_strategy = eager
        self._cache, self._path = self.config.create_runtime_cache(), path
        self.config.set_runtime_cache(self._cache)
        self._stored = path.read_bytes() if path is not None and path.is_file() else b""
        if self._stored and not self._cache.deserialize(self._stored):
            self._stored = b""  # of another GPU, driver or version: TensorRT compiles anew, and `save` replaces it

    def save(self) -> None:
        """Writes what has been compiled, if that is new and the bundle is not read-only. OutputError: a full disk."""
        if self._path is None or not os.access(self._path.parent, os.W_OK):
            return
        content = bytes(memoryview(self._cache.serialize()))
        if content != self._stored:
            write_file(self._path, content)
            self._stored = content


class Context:
    """An execution context, and what it has been told."""

    def __init__(self, made: Any) -> None:
        self.made = made
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.scratch = 0  # address


def create_context(tensorrt: TensorRt, engine: Any, kernels: RuntimeCache | None) -> Any:
    """A context whose scratch memory the caller gives; None: no memory for it.

    Without memory of the caller's TensorRT for RTX allocates in every run, which no stream can capture. TensorRT compiles
    no kernels when it runs, and has none to keep.
    """
    managed = tensorrt.api.ExecutionContextAllocationStrategy.USER_MANAGED
    return engine.create_execution_context(managed if kernels is None else kernels.config)
