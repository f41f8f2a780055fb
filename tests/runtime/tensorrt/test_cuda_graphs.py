"""Capture and replay over the recording double: order, addresses, limits, and engines that cannot be captured."""

import gc

import pytest

from glus_edge.runtime.device.cuda_stream import CudaStream
from glus_edge.runtime.errors import EngineError
from glus_edge.runtime.tensorrt.cuda_graphs import _MOST_GRAPHS, CudaGraphs
from tests.runtime.cuda_double import CudaDouble


class Runs:
    """An engine's work as the cache sees it: one operation on a stream."""

    def __init__(self, enabled=True, cuda=None):
        self.cuda = cuda or CudaDouble()
        self.stream = CudaStream(self.cuda, "main")
        self.cache = CudaGraphs(self.cuda, self.stream, enabled)
        self.done = []

    def run(self, key, fail=None):
        def enqueue():
            if fail is not None:
                fail()
            self.cuda.enqueue("execute", self.stream.handle, lambda: self.done.append(key))

        if self.cache.launch(key):
            return
        if not self.cache.capture(key, enqueue):
            enqueue()
            self.cache.observe(key)


def test_the_first_run_is_enqueued_the_second_captured_the_third_replayed():
    runs = Runs()
    for _ in range(3):
        runs.run((1,))
    assert [call for call, _ in runs.cuda.log] == [
        *("execute", "begin_capture", "execute", "end_capture", "launch", "launch")
    ]
    runs.stream.synchronise()
    assert runs.done == [(1,)] * 3


def test_other_addresses_have_graphs_of_their_own():
    runs = Runs()
    for _ in range(3):
        runs.run((1, 2))
        runs.run((2, 1))
    runs.stream.synchronise()
    assert runs.done == [(1, 2), (2, 1)] * 3
    assert len(runs.cuda.graphs) == 2


def test_a_server_that_never_stops_keeps_capturing_and_keeps_few():
    runs = Runs()
    for session in range(3 * _MOST_GRAPHS):
        for _ in range(3):
            runs.run((session,))
    assert len(runs.cuda.graphs) == _MOST_GRAPHS
    assert runs.cuda.calls("launch") == 2 * 3 * _MOST_GRAPHS
    runs.cache.clear()
    assert not runs.cuda.graphs
    runs.stream.synchronise()


def test_a_graph_is_given_back_only_when_it_has_run():
    runs = Runs()
    for _ in range(2):
        runs.run((1,))
    runs.cache.clear()
    assert runs.done == [(1,), (1,)]


def refuse():
    raise EngineError("layer x: cannot be captured")


def test_an_engine_that_cannot_be_captured_runs_without_and_says_why():
    runs = Runs()
    runs.run((1,))
    calls = iter([refuse, lambda: None])
    runs.run((1,), fail=lambda: next(calls)())
    for _ in range(3):
        runs.run((1,), fail=lambda: None)
    runs.stream.synchronise()
    assert runs.done == [(1,)] * 5
    assert runs.cache.failure == "layer x: cannot be captured"
    assert runs.cuda.calls("begin_capture") == 1
    assert not runs.cuda.graphs


def test_a_recording_that_cuda_ended_early_leaves_no_stream_in_capture():
    runs = Runs()
    end = runs.cuda.end_capture

    def broken(stream):
        graph = end(stream)
        runs.cuda.destroy_graph(graph)
        raise EngineError("CUDA cudaStreamEndCapture: got cudaErrorStreamCaptureInvalidated, expected success")

    runs.cuda.end_capture = broken
    for _ in range(3):
        runs.run((1,))
    runs.stream.synchronise()
    assert runs.done == [(1,)] * 3
    assert "Invalidated" in runs.cache.failure


def test_an_error_of_the_run_itself_is_raised_after_the_recording():
    runs = Runs()
    runs.run((1,))
    with pytest.raises(EngineError, match="layer x"):
        runs.run((1,), fail=refuse)
    assert runs.cuda.streams[runs.stream.handle].captured is None
    runs.stream.synchronise()


def test_nothing_is_captured_where_it_is_switched_off():
    runs = Runs(enabled=False)
    for _ in range(3):
        runs.run((1,))
    assert runs.cuda.calls("begin_capture") == 0
    runs.stream.synchronise()


def test_the_collector_gives_nothing_back_while_a_stream_records():
    runs = Runs()
    seen = []
    for _ in range(2):
        runs.run((1,), fail=lambda: seen.append(gc.isenabled()))
    assert seen == [True, False]
    assert gc.isenabled()
    runs.stream.synchronise()
