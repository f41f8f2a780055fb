import hashlib
import json
from pathlib import Path

import pytest

from glus_edge.runtime.bundle.manifest import (
    FORMAT_VERSION,
    FileEntry,
    GraphEntry,
    ImageSettings,
    Manifest,
    ParityEntry,
    PromptSettings,
)
from glus_edge.runtime.bundle.signatures import GRAPHS, ModelDimensions
from glus_edge.runtime.cli import main
from glus_edge.runtime.utils.schema import to_json

DIMENSIONS = ModelDimensions(
    clip_size=56,
    image_tokens=4,
    language_width=64,
    language_layers=2,
    language_heads=4,
    key_value_heads=4,
    vocabulary_size=451,
    max_positions=2048,
    image_size=128,
    segment_width=64,
    memory_width=16,
    stride_4_width=8,
    stride_8_width=16,
)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle whose graphs are a few bytes each: inspecting reads no graph."""

    def entry(name: str) -> FileEntry:
        content = name.encode()
        (tmp_path / name).write_bytes(content)
        return FileEntry(name, hashlib.sha256(content).hexdigest(), len(content))

    parity = (ParityEntry("a", 1e-6, 1e-5, 1e-4), ParityEntry("worst", 5e-5, 1e-3, 1e-4))
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        name="tiny",
        model=DIMENSIONS,
        prompt=PromptSettings(segment_token_id=448, begin_token_id=1),
        clip=ImageSettings(56, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        sam=ImageSettings(128, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        graphs={name: GraphEntry(entry(f"{name}.onnx"), "float32", "int4", parity=parity) for name in GRAPHS},
        tokenizer=entry("tokenizer.json"),
        token_embedding=entry("token_embedding.npy"),
        provenance={"checkpoint": "somewhere"},
    )
    (tmp_path / "manifest.json").write_text(json.dumps(to_json(manifest)))
    return tmp_path


def test_the_manifest_is_a_table(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(bundle)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("tiny ")
    rows = {line.split()[0]: line for line in lines if line}
    assert "somewhere" in rows["checkpoint"]
    for graph in GRAPHS:
        assert rows[graph].split()[1:3] == ["float32", "int4"]
        assert "worst 5.0e-05 of 1e-04" in rows[graph]


def test_tensors_are_listed_when_asked_for(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(bundle), "--tensors"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["in", "clip_pixels", "float32", "images", "x", "3", "x", "56", "x", "56"] in lines
    assert ["out", "segment_embedding", "float32", "sentences", "x", "64"] in lines


def test_json_is_the_manifest(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(bundle), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((bundle / "manifest.json").read_text())


@pytest.mark.parametrize("options", [[], ["--verify"]])
def test_a_missing_file_is_said(bundle: Path, capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
    (bundle / "mask_decoder.onnx").unlink()
    assert main(["inspect", str(bundle), *options]) == 2
    assert "got no mask_decoder.onnx" in capsys.readouterr().err


def test_verify_finds_a_changed_file(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bundle / "mask_decoder.onnx").write_bytes(b"mask_decoder.onnX")
    assert main(["inspect", str(bundle)]) == 0
    assert main(["inspect", str(bundle), "--verify"]) == 2
    assert "SHA-256" in capsys.readouterr().err


def test_a_folder_that_is_no_bundle_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(tmp_path) in error
