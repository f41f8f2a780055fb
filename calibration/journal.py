"""Measurements kept as they are made, so that a calibration that was stopped goes on where it stood."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from glus_edge.runtime.atomic_file import write_file, written_aside
from glus_edge.runtime.errors import OutputError

KEY = "key.json"
Value = dict[str, object]


class Journal:
    """A folder of small files, each whole or absent; thrown away if it belongs to another calibration."""

    def __init__(self, folder: Path, key: Value) -> None:
        """`key`: all that the measurements depend on. OutputError: the folder cannot be written to."""
        self.folder = folder
        text = json.dumps(key, sort_keys=True).encode()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / KEY).is_file() or (folder / KEY).read_bytes() != text:
                self.remove()
                folder.mkdir()
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
            with written_aside(self.folder / f"{name}.safetensors") as part:
                save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, part)
        write_file(self.folder / f"{name}.json", json.dumps(value).encode())

    def remove(self) -> None:
        """Deletes the folder and what this class put there."""
        for path in self.folder.glob("*"):
            if path.suffix in (".json", ".safetensors", ".part"):
                path.unlink()
        self.folder.rmdir()
