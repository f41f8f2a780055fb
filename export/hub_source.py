"""A checkpoint or CLIP given by its name on the Hub becomes a folder."""

from collections.abc import Sequence
from pathlib import Path

from glus_edge.export.checkpoint.checkpoint import Checkpoint
from glus_edge.export.checkpoint.weight_folder import LAYOUTS, SHARD
from glus_edge.runtime.hub.download import download
from glus_edge.runtime.hub.repository import HubRepository

SETTINGS = (
    "config.json",
    "tokenizer.model",
    "tokenizer.json",
    "tokenizer_config.json",
    "added_tokens.json",
    "special_tokens_map.json",
    "preprocessor_config.json",
    "processor_config.json",
)


def needed_files(names: Sequence[str]) -> list[str]:
    """What an export reads of a repository: settings, tokenizer, and its weights in one of their forms."""
    layout = next((layout for layout in LAYOUTS if layout in names), "")
    weights = [layout] if layout else []
    if not layout or layout.endswith(".json"):
        shards = [name for name in names if SHARD.fullmatch(name)]
        suffix = layout.removesuffix(".index.json") or next(iter(shards), "")
        weights += [name for name in shards if Path(name).suffix == Path(suffix).suffix]
    return [name for name in SETTINGS if name in names] + weights


def local_sources(checkpoint: Path, vision_tower: Path | None) -> tuple[Path, Path | None, dict[str, str]]:
    """The folders of both, and the entries of the manifest's provenance for those that came from the Hub.

    A folder wins over a repository of its name. Without a vision tower, a checkpoint from the Hub brings the one that its
    config.json names. Raises HubError, or CheckpointError where that file cannot be read.
    """
    folder, origin = _local(checkpoint, "checkpoint")
    if vision_tower is None and origin:
        named = Checkpoint.open(folder).config.vision_tower
        vision_tower = None if HubRepository.parse(named) is None else Path(named)
    if vision_tower is None:
        return folder, None, origin
    tower, more = _local(vision_tower, "vision_tower")
    return folder, tower, origin | more


def _local(source: Path, role: str) -> tuple[Path, dict[str, str]]:
    repository = HubRepository.parse(str(source))
    if repository is None or source.exists():
        return source, {}
    snapshot = download(repository, needed_files)
    hashes = ", ".join(f"{name} {digest}" for name, digest in snapshot.sha256().items())
    entries = {role: repository.name, f"{role}_revision": snapshot.commit, f"{role}_sha256": hashes}
    return snapshot.folder, entries
