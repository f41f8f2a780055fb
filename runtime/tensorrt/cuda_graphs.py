"""CUDA graphs of one engine's runs: what recurs with the same addresses is recorded at its second run and replayed."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from glus_edge.runtime.device.cuda_api import Cuda
from glus_edge.runtime.device.cuda_stream import CudaStream
from glus_edge.runtime.errors import EngineError

Key = tuple[int, ...]  # number of the engine's context, and addresses of its tensors in the order of their names

_MOST_GRAPHS = 32  # of one engine; beyond that the oldest goes


class CudaGraphs:
    """Graphs of one shape for each context; whoever changes its shapes clears its graphs."""

    def __init__(self, cuda: Cuda, stream: CudaStream, enabled: bool) -> None:
        self.failure = ""  # why runs are not replayed although they should be
        self._cuda, self._stream, self.enabled = cuda, stream, enabled
        self._graphs: dict[Key, int | None] = {}  # None: has run once, not captured yet

    def launch(self, key: Key) -> bool:
        """Replays the run with these addresses; whether there was a graph of it."""
        graph = self._graphs.get(key)
        if graph is not None:
            self._cuda.launch(graph, self._stream.handle)
        return graph is not None

    def capture(self, key: Key, enqueue: Callable[[], None]) -> bool:
        """Records and launches a run that was observed; whether it could be.

        What cannot be captured once is not tried again: `failure` says why.
        """
        if key not in self._graphs:
            return False
        graph = self._record(enqueue)
        if graph is None:
            self.enabled = False
            self.clear()
            return False
        self._graphs[key] = graph
        return self.launch(key)

    def observe(self, key: Key) -> None:
        """The run has been enqueued as it is. TensorRT's deferred work is done: from now on it may be captured."""
        if not self.enabled or key in self._graphs:
            return
        if len(self._graphs) == _MOST_GRAPHS:
            self._drop(next(iter(self._graphs)))
        self._graphs[key] = None

    def clear(self, context: int | None = None) -> None:
        """Gives the graphs of a context back, or all, when they are done."""
        for key in list(self._graphs):
            if context in (None, key[0]):
                self._drop(key)

    def _drop(self, key: Key) -> None:
        graph = self._graphs.pop(key)
        if graph is not None:
            self._stream.synchronise()
            self._cuda.destroy_graph(graph)

    def _record(self, enqueue: Callable[[], None]) -> int | None:
        # Memory given back by the collector would be a call that a stream must not see while it records.
        with _collector_paused():
            self._cuda.begin_capture(self._stream.handle)
            try:
                enqueue()
            except EngineError as error:
                self.failure = str(error)
            try:
                graph = self._cuda.end_capture(self._stream.handle)
            except EngineError as error:  # what could not be enqueued has ended the recording
                self.failure = self.failure or str(error)
                return None
        if self.failure:
            self._cuda.destroy_graph(graph)
            return None
        return graph


@contextmanager
def _collector_paused() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
