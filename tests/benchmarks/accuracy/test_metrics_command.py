"""`glus-edge bench metrics`: the same values as the plain loop, on the clip that ships and on folders of masks."""

import json

import numpy as np
import pytest

from glus_edge.runtime.cli import main
from tests.benchmarks import sets

pytestmark = pytest.mark.torch


def test_values_are_those_of_the_plain_loop(tmp_path, capsys):
    record = tmp_path / "r.json"
    assert main(["bench", "metrics", "--frames", "4", "--rounds", "1", "--output", str(record)]) == 0
    (row,) = json.loads(record.read_text())["rows"]
    assert (row["frames"], row["differing"]) == (4, 0)
    assert "0 frames with another value" in capsys.readouterr().out


def test_folders_of_masks_are_read(tmp_path, capsys):
    for name, masks in (("truth", sets.ONE), ("masks", sets.TWO)):
        for frame, mask in zip(sets.FRAMES, masks, strict=True):
            sets.write_png(tmp_path / name / f"{frame}.png", 255 * mask.astype(np.uint8))
    options = ["--truth", str(tmp_path / "truth"), "--masks", str(tmp_path / "masks"), "--rounds", "1"]
    assert main(["bench", "metrics", *options]) == 0
    assert "3 frames: " in capsys.readouterr().out
    assert main(["bench", "metrics", *options[:2]]) == 2
    assert "expected both or none" in capsys.readouterr().err
