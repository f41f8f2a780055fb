import dataclasses
import errno
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco

from glus_edge.benchmarks.datasets.coco_rle import mask_from_rle
from glus_edge.benchmarks.datasets.mevis_dataset import MevisDataset
from glus_edge.training.__main__ import main
from glus_edge.training.data.mevis import rle_from_mask, write_set
from glus_edge.training.data.video import VALIDATION, generate_set

masks = st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(lambda shape: arrays(np.bool_, shape))


@settings(deadline=None)
@given(masks)
def test_run_length_code_is_that_of_pycocotools(mask: np.ndarray) -> None:
    ours = rle_from_mask(mask)
    assert ours["counts"].encode() == coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]


@settings(deadline=None)
@given(masks)
def test_run_length_code_round_trips(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(mask_from_rle(rle_from_mask(mask)), mask)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mevis")
    write_set(folder, dataclasses.replace(VALIDATION, videos=2, size=64))
    return folder


def test_a_written_set_has_the_layout_of_mevis(folder: Path) -> None:
    entry = json.loads((folder / "meta_expressions.json").read_text())["videos"]["00001"]
    assert sorted(p.stem for p in (folder / "JPEGImages" / "00001").glob("*.jpg")) == entry["frames"]
    annotations = json.loads((folder / "mask_dict.json").read_text())
    for expression in entry["expressions"].values():
        assert expression["exp"]
        for annotation in expression["anno_id"]:
            assert len(annotations[str(annotation)]) == len(entry["frames"])


def test_the_written_masks_are_those_of_the_generator(folder: Path) -> None:
    video = generate_set(dataclasses.replace(VALIDATION, videos=2, size=64), 0)
    read = MevisDataset(folder)[0]
    assert [s.text for s in read.sentences] == [s.text for s in video.sentences]
    read.open()
    for frame in (0, len(video.frames) - 1):
        np.testing.assert_array_equal(read.truth(frame), video.masks()[:, frame])


def test_a_set_is_written_to_a_new_folder_whole_or_not_at_all(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["mevis", "--set", "validation", "--output", str(folder)]) == 2
    assert f"mevis: error: {folder}: holds something already; give another --output\n" == capsys.readouterr().err

    def full(path: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert main(["mevis", "--set", "validation", "--output", str(tmp_path / "set")]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
