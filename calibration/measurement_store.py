"""Measurements kept as they are made, so that a calibration that was stopped goes on where it stood.

A file for each, not a line of one journal: most of them hold tensors.
"""

import json
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from glus_edge.runtime.errors import OutputError
from glus_edge.runtime.utils.atomic_file import write_file

KEY = "key.json"
Value = dict[str, object]


class MeasurementStore:
    """A folder of small files, each whole or absent; thrown away if it belongs to another calibration."""

    def __init__(self, folder: Path, key: Value) -> None:
        """`key`: all that the measurements depend on. OutputError: the folder cannot be written to."""
        self.folder = folder
        text = json.dumps(key, sort_keys=True).encode()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / KEY).is_file() or (folder / KEY).read_bytes() != text:
                self.remove()
                folder.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be written ({error.strerror}), expected room to work in") from error
        write_file(folder / KEY, text)

    def get(self, name: str) -> Value | None:
        """What was put under this name before."""
        path = self.folder / f"{name}.json"
        try:
            value = json.loads(path.read_bytes())
        except (OSError, ValueError):
            return None
        return value if isinstance(value, dict) else None

    def tensors(self, name: str) -> dict[str, torch.Tensor] | None:
        """The tensors that were put under this name before."""
        try:
            return load_file(self.folder / f"{name}.safetensors")
        except (OSError, SafetensorError):
            return None

    def put(self, name: str, value: Value, tensors: dict[str, torch.Tensor] | None = None) -> None:
        """Keeps a measurement; the .json comes last, so that what has one is whole. OutputError: a full disk."""
        if tensors is not None:
            # its own save_file leaves a file of another name where it is stopped, and says a full disk in its own error
            content = save({key: tensor.contiguous() for key, tensor in tensors.items()})
            write_file(self.folder / f"{name}.safetensors", content)
        write_file(self.folder / f"{name}.json", json.dumps(value).encode())

    def remove(self) -> None:
        """Deletes what this class put there, and the folder unless something else lies in it."""
        for path in self.folder.glob("*"):
            if path.suffix in (".json", ".safetensors", ".part"):
                path.unlink()
        with suppress(OSError):
            self.folder.rmdir()
