"""Manifests whose values would allocate, loop or break the prompt."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glus_edge.runtime import BundleError
from glus_edge.runtime.bundle.bundle import Bundle, read_manifest
from glus_edge.runtime.bundle.shipped import shipped_bundle
from glus_edge.runtime.segmenter import Segmenter

DOCUMENT: dict[str, Any] = json.loads((shipped_bundle() / "manifest.json").read_text())


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """The shipped bundle with a manifest of its own."""
    for file in shipped_bundle().iterdir():
        if file.name != "manifest.json":
            (tmp_path / file.name).symlink_to(file)
    return tmp_path


def write(folder: Path, section: str, key: str, value: object) -> None:
    document = json.loads(json.dumps(DOCUMENT))
    document[section][key] = value
    (folder / "manifest.json").write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("section", "key"),
    [
        *(("model", key) for key in ("clip_size", "image_size", "image_tokens", "language_layers")),
        ("window", "context_frames"),
        ("window", "query_frames"),
        ("memory", "slots"),
    ],
)
@pytest.mark.parametrize("value", [-1, 16_777_216, 1 << 70])
def test_a_size_beyond_every_model_is_refused_at_once(linked: Path, section: str, key: str, value: int) -> None:
    write(linked, section, key, value)
    with pytest.raises(BundleError, match=f"{key}: got {value}, expected [01] to"):
        read_manifest(linked)


@pytest.mark.parametrize(
    "key",
    ["clip_size", "image_tokens", "key_value_heads", "language_layers", "segment_width", "memory_width"]
    + ["stride_4_width", "stride_8_width", "language_width", "image_size"],
)
def test_a_size_that_is_not_the_graphs_is_refused_before_a_frame_is_run(linked: Path, key: str) -> None:
    write(linked, "model", key, DOCUMENT["model"][key] * 2)
    with pytest.raises(BundleError, match="got .*, expected .*"):
        Segmenter.open(linked)


@pytest.mark.parametrize("key", ["system", "context_request", "answer", "segment_token", "score_token", "question"])
@pytest.mark.parametrize(
    "change", [lambda text: text + "<image>", lambda text: text + "a" * 30_000, lambda text: "\ud800"]
)
def test_a_piece_of_the_prompt_that_cannot_be_asked_with_is_refused(
    linked: Path, key: str, change: Callable[[str], str]
) -> None:
    write(linked, "prompt", key, change("{expression}"))
    with pytest.raises(BundleError, match=f"prompt.{key}: got"):
        read_manifest(linked)


@pytest.mark.parametrize("target", ["/dev/zero", "/dev/null"])
def test_a_manifest_that_is_a_device_is_refused(linked: Path, target: str) -> None:
    (linked / "manifest.json").symlink_to(target)
    with pytest.raises(BundleError, match="a device or a pipe"):
        read_manifest(linked)


def test_a_key_that_comes_twice_is_refused(linked: Path) -> None:
    text = (shipped_bundle() / "manifest.json").read_text()
    (linked / "manifest.json").write_text(text.replace('"name":', '"name": "other", "name":', 1))
    with pytest.raises(BundleError, match="got the key 'name' twice"):
        read_manifest(linked)


def test_token_ids_without_a_row_in_the_embedding_are_refused(linked: Path) -> None:
    tokenizer = json.loads((shipped_bundle() / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["a word that is never said"] = 1_000_000
    (linked / "tokenizer.json").unlink()
    (linked / "tokenizer.json").write_text(json.dumps(tokenizer))
    (linked / "manifest.json").write_text(json.dumps(DOCUMENT))
    with pytest.raises(BundleError, match="tokenizer.json: got token ids up to 1000000, expected 0 to"):
        Bundle(linked, read_manifest(linked)).tokenizer()
