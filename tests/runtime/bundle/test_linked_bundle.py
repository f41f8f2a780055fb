"""Bundles whose files are links, as hub caches and linked environments have them; graphs that name files of their own."""

import json
import shutil
from pathlib import Path

import pytest

from glus_edge.runtime import BundleError, Segmenter, open_video
from glus_edge.runtime.bundle.external_data import external_files
from glus_edge.runtime.bundle.shipped import FOLDER, shipped_bundle
from glus_edge.runtime.cli import main

CLIP = FOLDER / "clip" / "clip.mp4"


@pytest.fixture
def cached(tmp_path: Path) -> Path:
    """Every file is a link to one of another name in another folder."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "main"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for number, file in enumerate(sorted(shipped_bundle().iterdir())):
        shutil.copy(file, blobs / f"{number:064x}")
        (snapshot / file.name).symlink_to(f"../../blobs/{number:064x}")
    return snapshot


def first_masks(bundle: Path | None) -> bytes:
    with Segmenter.open(bundle) as segmenter:
        session = segmenter.stream(["the red disc"])
        return b"".join(session.push(frame.rgb).masks.tobytes() for frame in open_video(CLIP).frames(0, 2))


def test_files_that_are_links_give_the_same_masks(cached: Path) -> None:
    assert first_masks(cached) == first_masks(None)


def test_so_does_a_folder_that_is_a_link(cached: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(cached)
    assert first_masks(tmp_path / "linked") == first_masks(None)


@pytest.mark.parametrize("command", [["inspect"], ["inspect", "--verify"], ["doctor", "--bundle"]])
def test_inspect_and_doctor_see_what_opening_sees(
    cached: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, str(cached)]) == 0
    (cached / "language_model.onnx.data").resolve().unlink()
    assert main([*command, str(cached)]) == 2
    assert "language_model.onnx.data" in capsys.readouterr().err


def test_weights_that_the_manifest_does_not_name_are_not_trusted(tmp_path: Path) -> None:
    bundle = shutil.copytree(shipped_bundle(), tmp_path / "bundle")
    document = json.loads((bundle / "manifest.json").read_text())
    document["graphs"]["language_model"]["data"] = None
    (bundle / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(BundleError, match=r"keeps weights in 'language_model.onnx.data'.*graphs.language_model.data"):
        Segmenter.open(bundle)


@pytest.mark.parametrize("content", [b"", b"location", b"\x3a\xff\xff\x7flocation", b"\xff" * 20 + b"location"])
def test_what_is_no_graph_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(ValueError, match=r"empty|cut off|behind|wire type"):
        external_files(tmp_path / "x.onnx")


def test_the_files_of_the_shipped_graphs_are_found() -> None:
    bundle = shipped_bundle()
    assert external_files(bundle / "language_model.onnx") == {"language_model.onnx.data"}
    assert external_files(bundle / "image_encoder.onnx") == set()
