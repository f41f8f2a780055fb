"""What this project asks of CUDA: memory, copies, streams, events, graphs. One thin interface, two implementations.

Handles are plain integers (the address of what CUDA calls a pointer type), so that every library takes them. Both
implementations use the device's primary context, the only one shared with ONNX Runtime and TensorRT.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from glus_edge.runtime.errors import EngineError

# Of a GPU in exclusive mode that another process holds: the runtime's name for it, and the driver's words.
_IN_USE = ("cudaErrorDevicesUnavailable", "busy or unavailable")


@dataclass(frozen=True)
class Gpu:
    """One CUDA device and what drives it."""

    name: str  # 'NVIDIA A100-SXM4-40GB', 'Orin'
    compute_capability: str  # '8.7'
    memory_bytes: int  # all of the device; on a Jetson shared with the host
    driver: str  # highest CUDA version the driver supports, '12.6'
    integrated: bool  # shares the host's memory: a Jetson
    multiprocessors: int  # every Jetson of one generation has the same name, and fewer of these in a low power mode

    @property
    def label(self) -> str:
        """What an engine is made for, as records and fingerprints have it."""
        return f"{self.name} (compute capability {self.compute_capability}, {self.multiprocessors} SMs)"


class Cuda(Protocol):
    """CUDA on one device. Every call raises EngineError with CUDA's own error where it fails."""

    name: str  # 'cuda-python' or 'pycuda'
    gpu: Gpu
    has_graphs: bool  # whether streams can be captured; pycuda has no such calls

    def allocate(self, size_bytes: int) -> int:
        """Address of new device memory, 256-byte aligned. EngineError: not so much is free; the message says how much."""

    def free(self, address: int) -> None:
        """Gives device memory back."""

    def allocate_pinned(self, size_bytes: int) -> NDArray[np.uint8]:
        """Page-locked host memory: what asynchronous copies need."""

    def free_pinned(self, block: NDArray[np.uint8]) -> None:
        """Gives page-locked memory back."""

    def copy_to_device(self, target: int, source: int, size_bytes: int, stream: int) -> None:
        """Host address to device address, in stream order."""

    def copy_to_host(self, target: int, source: int, size_bytes: int, stream: int) -> None:
        """Device address to host address, in stream order."""

    def copy_on_device(self, target: int, source: int, size_bytes: int, stream: int) -> None:
        """Device address to device address, in stream order."""

    def copy_rows_on_device(
        self, target: int, target_pitch: int, source: int, source_pitch: int, row_bytes: int, rows: int, stream: int
    ) -> None:
        """Rows, each a pitch in bytes behind the one before, device to device, in stream order."""

    def fill_zero(self, address: int, size_bytes: int, stream: int) -> None:
        """Zeros device memory, in stream order."""

    def memory_device(self, address: int) -> int | None:
        """Number of the device that an address of another library is memory of; None: CUDA does not know the address."""

    def create_stream(self) -> int:
        """A stream that does not wait for the default stream."""

    def destroy_stream(self, stream: int) -> None:
        """Gives a stream back."""

    def synchronise(self, stream: int) -> None:
        """Returns when everything enqueued on the stream is done."""

    def create_event(self) -> int:
        """A mark in a stream."""

    def destroy_event(self, event: int) -> None:
        """Gives an event back."""

    def record(self, event: int, stream: int) -> None:
        """Puts the mark behind everything enqueued on the stream so far."""

    def wait(self, stream: int, event: int) -> None:
        """What is enqueued on the stream from now on waits for the mark; the host does not."""

    def follow(self, stream: int, producer: int) -> None:
        """What is enqueued on the stream from now on waits for what is enqueued on another library's stream now.

        `producer` is that stream's handle; 1 and 2 are CUDA's legacy and per-thread default streams.
        """

    def synchronise_event(self, event: int) -> None:
        """Returns when the mark has been reached."""

    def elapsed_ms(self, start: int, stop: int) -> float:
        """Milliseconds between two marks that have been reached."""

    def begin_capture(self, stream: int) -> None:
        """From now on work enqueued on the stream is recorded, not run."""

    def end_capture(self, stream: int) -> int:
        """The recorded work, ready to launch: a graph."""

    def launch(self, graph: int, stream: int) -> None:
        """Runs a graph in stream order."""

    def destroy_graph(self, graph: int) -> None:
        """Gives a graph back."""

    def free_bytes(self) -> int:
        """Device memory that is free now."""


def dotted(version: int) -> str:
    """'12.6' from CUDA's 12060."""
    return f"{version // 1000}.{version % 1000 // 10}"


def failed(call: str, error: Any) -> EngineError:
    """The error of a CUDA call, in one line."""
    if in_use(error):
        return EngineError(
            f"CUDA {call}: got {error}, expected a GPU that this process may use; another process has it for itself: "
            "wait until that ends, or allow several with `nvidia-smi -c DEFAULT`"
        )
    return EngineError(f"CUDA {call}: got {error}, expected success; see `glus-edge doctor`")


def in_use(error: Any) -> bool:
    """Whether another process has the GPU for itself."""
    return any(name in str(error) for name in _IN_USE)


def out_of_memory(size_bytes: int, free_bytes: int, gpu: Gpu) -> EngineError:
    """A request that does not fit, and what would."""
    return EngineError(
        f"device memory: got a request for {size_bytes / 1e6:.1f} MB, expected at most the {free_bytes / 1e6:.1f} MB that "
        f"are free of {gpu.memory_bytes / 1e9:.1f} GB; stop what else uses the GPU, ask about fewer sentences at once, or "
        "build engines with smaller limits; `glus-edge doctor --bundle BUNDLE` says what a bundle needs"
    )
