"""What ONNX Runtime raises, in our words: its own classes share no parent, and its bindings add Python's."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onnxruntime.capi import onnxruntime_pybind11_state as library

from glus_edge.runtime.errors import BundleError

# Every class of the library's own, and what its bindings raise for arguments and memory that cannot be had.
ERRORS: tuple[type[Exception], ...] = (
    *(each for each in vars(library).values() if isinstance(each, type) and issubclass(each, Exception)),
    RuntimeError,
    TypeError,
    ValueError,
)


@contextmanager
def loading(what: Path | str) -> Iterator[None]:
    """Whatever the library raises in the block is a BundleError that names the graph, by its file where it has one."""
    try:
        yield
    except ERRORS as error:
        raise BundleError(
            f"{what}: ONNX Runtime cannot load it: {first_line(error)}; export the bundle again"
        ) from error


def first_line(error: Exception) -> str:
    """The error's first line, cut to what can be read."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
