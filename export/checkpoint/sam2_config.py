"""The SAM 2 configuration: an official name (`sam2_hiera_l`) or a YAML file of the same form, read as hostile input."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from glus_edge.export.checkpoint.file_kind import check_file_kind
from glus_edge.runtime.errors import CheckpointError

OFFICIAL_NAMES = ("sam2_hiera_l", "sam2_hiera_b+", "sam2_hiera_s", "sam2_hiera_t")
MAXIMUM_BYTES = 64 * 1024
MAXIMUM_NUMBER = 1 << 12  # of what no other limit is given; the largest model's numbers lie below 2400
# Numbers with a limit of their own, some of which fill the memory long before that.
MAXIMUM_NUMBERS = {
    "temperature": 1 << 16,
    "rope_theta": 1 << 24,
    "embed_dim": 1 << 9,
    "num_layers": 1 << 6,
    "num_heads": 1 << 6,
}
# Settings whose other values would change what GLUS computes.
REQUIRED = {
    "use_high_res_features_in_sam": (True, "the mask decoder of GLUS reads the stride-4 and stride-8 maps"),
    "pred_obj_scores": (True, "the mask decoder of GLUS has an object score"),
    "directly_add_no_mem_embed": (True, "GLUS adds no_mem_embed while the memory bank is empty"),
}


def sam2_config(name_or_path: str) -> dict[str, Any]:
    """The `model` tree of a configuration. Raises CheckpointError where it is unknown, unreadable or not of SAM 2.0."""
    path = _config_path(name_or_path)
    check_file_kind(path)
    try:
        text = path.read_text(encoding="utf-8")
        if len(text) > MAXIMUM_BYTES:
            raise CheckpointError(f"{path}: got {len(text)} characters, expected a SAM 2 YAML under {MAXIMUM_BYTES}")
        document = yaml.load(text, Loader=_NoAliasLoader)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}); give a name or a YAML file") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path}: is not a SAM 2 YAML ({first})") from error
    model = document.get("model") if isinstance(document, dict) else None
    if not isinstance(model, dict):
        raise CheckpointError(f"{path}: has no `model`, expected a SAM 2 configuration such as {OFFICIAL_NAMES[0]}")
    _check(model, str(path))
    for key, (expected, why) in REQUIRED.items():
        if model.get(key) != expected:
            raise CheckpointError(f"{path}: {key}: got {model.get(key)}, expected {str(expected).lower()}: {why}")
    if model.get("no_obj_embed_spatial") or model.get("proj_tpos_enc_in_obj_ptrs"):
        raise CheckpointError(f"{path}: is a SAM 2.1 configuration, expected SAM 2.0, which GLUS is trained with")
    return model


def _config_path(name_or_path: str) -> Path:
    name = name_or_path.removesuffix(".yaml")
    if name in OFFICIAL_NAMES:
        package = find_spec("sam2")
        if package is None or not package.submodule_search_locations:
            raise CheckpointError(
                f"{name_or_path}: the sam2 package is not installed; pip install --no-deps sam2==1.1.0, or give a YAML"
            )
        return Path(package.submodule_search_locations[0]) / "configs" / "sam2" / f"{name}.yaml"
    path = Path(name_or_path)
    if not path.is_file():
        hint = "; GLUS uses SAM 2.0, not 2.1" if "2.1" in name else ""
        raise CheckpointError(
            f"SAM 2 configuration {name_or_path}: is neither an official name nor a file, "
            f"expected {', '.join(OFFICIAL_NAMES)} or a YAML{hint}"
        )
    return path


def _check(value: Any, where: str, maximum: int = MAXIMUM_NUMBER) -> None:
    """Plain values only: no interpolation, no instantiation directives, no number that would fill the memory."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str) or (key.startswith("_") and key != "_target_"):
                raise CheckpointError(f"{where}: got key {str(key)[:60]!r}, expected a plain SAM 2 configuration")
            _check(item, f"{where}: {key}", MAXIMUM_NUMBERS.get(key, MAXIMUM_NUMBER))
    elif isinstance(value, list):
        if len(value) > 64:
            raise CheckpointError(f"{where}: got {len(value)} values, expected at most 64")
        for item in value:
            _check(item, where, maximum)
    elif isinstance(value, str):
        if "${" in value:
            raise CheckpointError(f"{where}: got {value[:60]!r}, expected a value without interpolation")
    elif isinstance(value, (int, float)):
        if not abs(value) <= maximum:
            raise CheckpointError(f"{where}: got {value}, expected at most {maximum}")
    elif value is not None:
        raise CheckpointError(f"{where}: got a {type(value).__name__}, expected a plain value")


class _NoAliasLoader(yaml.SafeLoader):
    """Without aliases, so that a small file cannot stand for a huge tree; reads 1e-6 as a number, as hydra does."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not accepted")
        node: yaml.Node | None = super().compose_node(parent, index)
        return node


_NoAliasLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+$"), list("-+0123456789")
)
