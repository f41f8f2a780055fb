"""Streams of a CUDA device, and marks in them."""

import weakref

from glus_edge.runtime.device.cuda_api import Cuda

MAIN = "main"  # stream of whatever no engine has used yet
FOREIGN = "foreign"  # carries no work: what waits for it waits for other libraries' streams


class CudaStream:
    """A stream and the event others wait for."""

    def __init__(self, cuda: Cuda, name: str) -> None:
        self.name = name
        self.handle = cuda.create_stream()
        self._cuda = cuda
        self._event = cuda.create_event()
        self._release = weakref.finalize(self, _release_stream, cuda, self.handle, self._event)

    def wait_for(self, other: "CudaStream") -> None:
        """What is enqueued here from now on comes after all that is enqueued there now."""
        self._cuda.record(other._event, other.handle)
        self._cuda.wait(self.handle, other._event)

    def synchronise(self) -> None:
        """The host waits until the stream is idle."""
        self._cuda.synchronise(self.handle)


class StreamMark:
    """A place in a stream."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda, self._event = cuda, cuda.create_event()
        weakref.finalize(self, cuda.destroy_event, self._event)

    def put(self, stream: CudaStream) -> None:
        """Behind everything enqueued on the stream so far."""
        self._cuda.record(self._event, stream.handle)

    def wait(self) -> None:
        """The host waits until the place has been reached."""
        self._cuda.synchronise_event(self._event)


def _release_stream(cuda: Cuda, stream: int, event: int) -> None:
    cuda.destroy_event(event)
    cuda.destroy_stream(stream)
