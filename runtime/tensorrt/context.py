"""Execution contexts: their scratch memory is the caller's, and TensorRT for RTX keeps the kernels it compiles on disk."""

import os
from pathlib import Path
from typing import Any

from glus_edge.runtime.tensorrt.library import TensorRt
from glus_edge.runtime.utils.atomic_file import write_file


class RuntimeCache:
    """Kernels that TensorRT for RTX compiled for this GPU when an engine first ran: without them every start does so."""

    def __init__(self, cache: Any, path: Path | None) -> None:
        self.cache, self._path = cache, path
        self._stored = path.read_bytes() if path is not None and path.is_file() else b""
        if self._stored and not cache.deserialize(self._stored):
            self._stored = b""  # of another GPU, driver or version: TensorRT compiles anew, and `save` replaces it

    def save(self) -> None:
        """Writes what has been compiled, if that is new and the bundle is not read-only. OutputError: a full disk."""
        if self._path is None or not os.access(self._path.parent, os.W_OK):
            return
        content = bytes(memoryview(self.cache.serialize()))
        if content != self._stored:
            write_file(self._path, content)
            self._stored = content


def create_context(
    tensorrt: TensorRt, engine: Any, runtime_cache: Path | None = None
) -> tuple[Any, RuntimeCache | None]:
    """A context (None: no memory for it) whose scratch memory the caller gives, and its cache of compiled kernels.

    Without memory of the caller's TensorRT for RTX allocates in every run, which no stream can capture. TensorRT
    compiles no kernels when it runs and has no cache.
    """
    managed = tensorrt.api.ExecutionContextAllocationStrategy.USER_MANAGED
    if tensorrt.library != "tensorrt-rtx":
        return engine.create_execution_context(managed), None
    config = engine.create_runtime_config()
    config.set_execution_context_allocation_strategy(managed)
    # kernels for these shapes at once: a fallback that is exchanged later would stay in a graph captured before
    config.dynamic_shapes_kernel_specialization_strategy = tensorrt.api.DynamicShapesKernelSpecializationStrategy.EAGER
    cache = RuntimeCache(config.create_runtime_cache(), runtime_cache)
    config.set_runtime_cache(cache.cache)
    return engine.create_execution_context(config), cache
