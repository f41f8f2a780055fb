"""One weight file, .bin or .safetensors: names, shapes and tensors, without ever running what a pickle holds."""

import pickle
import struct
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import safetensors
import torch

from glus_edge.runtime.errors import CheckpointError

ZIP_MAGIC = b"PK\x03\x04"
# What torch.load and safetensors raise on a damaged or hostile file.
DAMAGED = (
    pickle.UnpicklingError,
    safetensors.SafetensorError,
    struct.error,
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    AssertionError,
    MemoryError,
    OverflowError,
)


class TensorInfo(NamedTuple):
    """What is known of a tensor before it is read."""

    shape: tuple[int, ...]
    dtype: torch.dtype


def read_tensors(path: Path) -> Mapping[str, torch.Tensor]:
    """The tensors of a file, memory-mapped where the format allows: they hold the map, so copy what is to stay.

    Raises CheckpointError naming the file where it is missing, cut off, holds code, or is no mapping of names to
    tensors.
    """
    with _one_line(path):
        if path.suffix == ".safetensors":
            with safetensors.safe_open(path, framework="pt") as opened:
                return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 -- no mapping
        with path.open("rb") as file:
            is_zip = file.read(len(ZIP_MAGIC)) == ZIP_MAGIC
        # Files older than torch 1.6 are no zip archives and cannot be mapped.
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip or None)
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{path}: got a {type(loaded).__name__}, expected a mapping of names to tensors")
    for name, tensor in loaded.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided:
            raise CheckpointError(
                f"{path}: entry {str(name)[:60]!r}: got a {type(tensor).__name__}, expected a dense tensor"
            )
        if tensor.is_meta:
            raise CheckpointError(
                f"{path}: {name}: got a shape without values (device meta), expected weights; save the loaded model again"
            )
    return loaded


def tensor_infos(path: Path) -> dict[str, TensorInfo]:
    """Shape and dtype of every tensor of a file."""
    return {name: TensorInfo(tuple(tensor.shape), tensor.dtype) for name, tensor in read_tensors(path).items()}


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about a pickle's protocol: what matters follows as an error
            yield
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: does not exist; give the complete folder") from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: holds something other than weights, which is never unpickled ({_first_line(error)}); "
            "give a file of plain tensors"
        ) from error
    except DAMAGED as error:
        raise CheckpointError(f"{path}: is damaged or cut off ({_first_line(error)}); copy it again") from error


def _first_line(error: BaseException) -> str:
    # torch's own text goes on with advice to switch the protection off; its first sentence is what is wrong.
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].split(". ")[0][:160]
