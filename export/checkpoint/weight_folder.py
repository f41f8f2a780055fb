"""The weights of a folder in the Hugging Face layout: one file, or shards with an index."""

import re
from pathlib import Path

import torch

from glus_edge.export.checkpoint.json_file import JsonObject
from glus_edge.export.checkpoint.weight_file import TensorInfo, read_tensors, tensor_infos
from glus_edge.runtime.errors import CheckpointError

# In the order in which transformers looks for them.
LAYOUTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
READABLE = (torch.float32, torch.bfloat16, torch.float16)
# Pages of a mapped file count as resident once read; after this many bytes the file is mapped afresh.
REMAP_BYTES = 512 * 1024 * 1024
MOST_SHARDS = 4096
SHARD = re.compile(r"(?P<stem>model|pytorch_model)-\d{5,6}-of-(?P<total>\d{5,6})(?P<suffix>\.safetensors|\.bin)")
OTHER_FOLDER = "give the folder that holds config.json and the weights"
# Files of training runs and of adapters, and what makes weights of them.
OTHER_WEIGHTS = {
    "zero_to_fp32.py": "run zero_to_fp32.py in it, which makes pytorch_model.bin of DeepSpeed's states",
    "global_step*": "make pytorch_model.bin of DeepSpeed's states with its zero_to_fp32.py",
    "adapter_model.*": "merge the adapter into its base model (merge_and_unload of peft) and save that",
    "*.gguf": "give the checkpoint that the GGUF file was made from",
    "*.pth": "save the model with save_pretrained, which gives one of these files",
    "*.pt": "save the model with save_pretrained, which gives one of these files",
}
LONGEST_NAME = 255  # bytes; asked for a longer one, a file system gives an error instead of a no


class WeightFolder:
    """Tensors by name, read one at a time; at most one shard is open, and a bounded part of it resident."""

    def __init__(self, folder: Path, prefix: str = "") -> None:
        """Reads names and shapes only. `prefix`: given to every name, where a file leaves it out.

        Raises CheckpointError where a file is missing, damaged or hostile.
        """
        self.folder = folder
        self._prefix = prefix
        self._files: dict[str, Path] = {}
        self._infos: dict[str, TensorInfo] = {}
        for path, names in _weight_files(folder).items():
            infos = tensor_infos(path)
            for name in names or infos:
                if name not in infos:
                    raise CheckpointError(
                        f"{path}: does not hold {name[:200]!a}, which the index says it does; copy it again"
                    )
            for name, info in infos.items():
                # A name in two shards is read from the one the index gives.
                if prefix + name not in self._files or name in names:
                    self._files[prefix + name] = path
                    self._infos[prefix + name] = info
        self._open_path: Path | None = None
        self._open_tensors: dict[str, torch.Tensor] = {}
        self._read_bytes = 0

    def names(self) -> tuple[str, ...]:
        """All names, in the order of the files."""
        return tuple(self._infos)

    def __contains__(self, name: str) -> bool:
        return name in self._infos

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor; CheckpointError where there is none of this name."""
        return self._info(name).shape

    def dtype(self, name: str) -> torch.dtype:
        """Dtype of a tensor as stored; CheckpointError where there is none of this name."""
        return self._info(name).dtype

    def tensor(self, name: str) -> torch.Tensor:
        """A copy of one tensor, contiguous, float32, bfloat16 or float16 as stored."""
        if self.dtype(name) not in READABLE:
            raise CheckpointError(
                f"{self._files[name]}: {name}: got {self.dtype(name)}, expected float32, bfloat16 or float16"
            )
        path = self._files[name]
        if path != self._open_path or self._read_bytes > REMAP_BYTES:
            self.release()
            self._open_tensors = dict(read_tensors(path))
            self._open_path = path
        copy = self._open_tensors[name.removeprefix(self._prefix)].detach().clone(memory_format=torch.contiguous_format)
        self._read_bytes += copy.nbytes
        return copy

    def release(self) -> None:
        """Closes the open shard; the next read opens it again."""
        self._open_path, self._open_tensors, self._read_bytes = None, {}, 0

    def _info(self, name: str) -> TensorInfo:
        if name not in self._infos:
            raise CheckpointError(f"{self.folder}: has no tensor {name}; expected a complete checkpoint")
        return self._infos[name]


def _weight_files(folder: Path) -> dict[Path, set[str]]:
    """The weight files of a folder, each with the names its index promises (none without an index)."""
    for layout in LAYOUTS:
        path = folder / layout
        if not path.is_file():
            continue
        return _indexed_shards(path) if layout.endswith(".json") else {path: set()}
    if shards := _unindexed_shards(folder):
        return shards
    hint = next((hint for pattern, hint in OTHER_WEIGHTS.items() if any(folder.glob(pattern))), OTHER_FOLDER)
    raise CheckpointError(
        f"{folder}: has no weights, expected {LAYOUTS[2]}, {LAYOUTS[0]} or shards with {LAYOUTS[3]}; {hint}"
    )


def _unindexed_shards(folder: Path) -> dict[Path, set[str]]:
    """Shards that say themselves how many they are; none where there are none. CheckpointError: some are missing."""
    names = sorted(path.name for path in folder.iterdir() if SHARD.fullmatch(path.name))
    if not names:
        return {}
    stem, digits, suffix = SHARD.fullmatch(names[0]).group("stem", "total", "suffix")  # type: ignore[union-attr]
    if int(digits) > MOST_SHARDS:
        raise CheckpointError(f"{folder / names[0]}: names {digits} shards, expected at most {MOST_SHARDS}")
    wanted = [f"{stem}-{number:0{len(digits)}d}-of-{digits}{suffix}" for number in range(1, int(digits) + 1)]
    missing = [name for name in wanted if name not in names]
    if missing or not wanted:
        raise CheckpointError(
            f"{folder}: has neither an index nor all of the shards: {len(missing)} of {len(wanted)} are missing, the first "
            f"{missing[0] if missing else names[0]}; copy the complete checkpoint"
        )
    return {folder / name: set() for name in wanted}


def _indexed_shards(index: Path) -> dict[Path, set[str]]:
    weight_map = JsonObject.read(index).child("weight_map")
    if weight_map is None or not weight_map.values:
        raise CheckpointError(f"{index}: weight_map: got nothing, expected the file of every tensor")
    shards: dict[Path, set[str]] = {}
    for name, file in weight_map.values.items():
        # A shard lies beside its index: "../x.bin" or "/etc/x" would read a file the user did not give.
        if not isinstance(file, str) or not _is_plain_name(file):
            raise CheckpointError(
                f"{index}: weight_map of {name[:60]!a}: got {str(file)[:60]!r}, expected a plain file name"
            )
        shards.setdefault(index.parent / file, set()).add(name)
    missing = [path.name for path in shards if not path.is_file()]
    if missing:
        raise CheckpointError(
            f"{index}: names {len(missing)} of {len(shards)} files that do not exist, the first {missing[0]}; "
            "copy the complete checkpoint"
        )
    return shards


def _is_plain_name(file: str) -> bool:
    short = len(file.encode(errors="replace")) <= LONGEST_NAME
    return file == Path(file).name and file not in ("", "..") and "\\" not in file and file.isprintable() and short
