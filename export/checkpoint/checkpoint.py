"""A GLUS checkpoint in the official on-disk format: config.json, weights, and the tokenizer's files beside them."""

from pathlib import Path

from glus_edge.export.checkpoint.json_file import JsonObject
from glus_edge.export.checkpoint.language_config import LanguageConfig
from glus_edge.export.checkpoint.weight_folder import WeightFolder
from glus_edge.runtime.errors import CheckpointError


class Checkpoint(WeightFolder):
    """Config and weights of a GLUS checkpoint; weights are read when asked for, one tensor at a time.

    NOTE: `rotary_emb.inv_freq` may be stored rounded to bfloat16; it is never to be used.
    """

    def __init__(self, folder: Path, config: LanguageConfig) -> None:
        super().__init__(folder)
        self.config = config

    @classmethod
    def open(cls, folder: Path) -> "Checkpoint":
        """Raises CheckpointError, one line, where the folder is no checkpoint or a file of it cannot be read."""
        if not folder.is_dir():
            raise CheckpointError(f"{folder}: is not a folder, expected a GLUS checkpoint (config.json and weights)")
        if not (folder / "config.json").is_file():
            raise CheckpointError(f"{folder}: has no config.json, expected a GLUS checkpoint; give the folder with it")
        return cls(folder, LanguageConfig.from_json(JsonObject.read(folder / "config.json")))
