"""One weight file, .bin or .safetensors: names, shapes and tensors, without ever running what a pickle holds."""

import pickle
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import safetensors
import torch

from glus_edge.export.checkpoint.file_kind import check_file_kind
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
LEGACY_MAGIC = b"L119547037146038801333356L"  # of a file older than zip archives, in pickle protocol 0 or 1
READABLE_PROTOCOLS = (2, 3)  # of pickles, by torch's unpickler that runs no code


class TensorInfo(NamedTuple):
    """What is known of a tensor before it is read."""

    shape: tuple[int, ...]
    dtype: torch.dtype


def read_tensors(path: Path) -> Mapping[str, torch.Tensor]:
    """The tensors of a file, memory-mapped where the format allows: they hold the map, so copy what is to stay.

    Raises CheckpointError naming the file where it is missing, cut off, holds code, or is no mapping of names to
    tensors.
    """
    head = check_file_kind(path)
    with _one_line(path):
        if path.suffix == ".safetensors":
            with safetensors.safe_open(path, framework="pt") as opened:
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 -- no mapping
            for name in tensors:
                _check_name(path, name)
            return tensors
        is_zip = head.startswith(ZIP_MAGIC)
        # Files older than torch 1.6 are no zip archives and cannot be mapped.
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip or None)
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{path}: got a {type(loaded).__name__}, expected a mapping of names to tensors")
    for name, tensor in loaded.items():
        _check_name(path, name)
        if isinstance(tensor, dict):
            raise CheckpointError(
                f"{path}: entry {str(name)[:60]!r}: got a mapping, expected a dense tensor; a training state was saved whole: "
                "save the weights inside it alone"
            )
        if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided:
            raise CheckpointError(
                f"{path}: entry {str(name)[:60]!r}: got a {type(tensor).__name__}, expected a dense tensor"
            )
        if tensor.is_meta:
            raise CheckpointError(
                f"{path}: {name}: got a shape without values (device meta), expected weights; save the loaded model again"
            )
        if tensor.nbytes > tensor.untyped_storage().nbytes():
            raise CheckpointError(
                f"{path}: {name}: got {tensor.nbytes} bytes from {tensor.untyped_storage().nbytes()} (an expanded tensor), "
                "expected a value of its own for every element; save it contiguous"
            )
    return loaded


def tensor_infos(path: Path) -> dict[str, TensorInfo]:
    """Shape and dtype of every tensor of a file."""
    return {name: TensorInfo(tuple(tensor.shape), tensor.dtype) for name, tensor in read_tensors(path).items()}


def _check_name(path: Path, name: object) -> None:
    if not isinstance(name, str) or not name.isprintable():
        raise CheckpointError(f"{path}: got an entry {str(name)[:60]!a}, expected the name of a tensor")


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about a pickle's protocol: what matters follows as an error
            yield
    except pickle.UnpicklingError as error:
        if (protocol := _pickle_protocol(path)) not in (*READABLE_PROTOCOLS, None):
            raise CheckpointError(
                f"{path}: was saved with pickle protocol {protocol}, expected {READABLE_PROTOCOLS[0]}, torch.save's own, "
                "which is read without running code; where you trust the file, load it and save it again, best as safetensors"
            ) from error
        raise CheckpointError(
            f"{path}: holds something other than weights, which is never unpickled ({_first_line(error)}); "
            "give a file of plain tensors"
        ) from error
    except DAMAGED as error:
        raise CheckpointError(f"{path}: is damaged or cut off ({_first_line(error)}); copy it again") from error


def _pickle_protocol(path: Path) -> int | str | None:
    """The protocol of the pickle that a file of torch's begins with; the two oldest name none. None: it is no such file."""
    try:
        with zipfile.ZipFile(path) as archive:
            entry = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            with archive.open(entry) as file:
                head = file.read(2)
    except (zipfile.BadZipFile, StopIteration, *DAMAGED):
        with path.open("rb") as plain:
            head = plain.read(len(LEGACY_MAGIC))
        if head[:1] != pickle.PROTO and head != LEGACY_MAGIC:
            return None
    return head[1] if head[:1] == pickle.PROTO and len(head) > 1 else "0 or 1"


def _first_line(error: BaseException) -> str:
    # torch's own text goes on with advice to switch the protection off; its first sentence is what is wrong.
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].split(". ")[0][:160]
