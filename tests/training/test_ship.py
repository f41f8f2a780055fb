import json
from pathlib import Path

import numpy as np
import pytest

from glus_edge.export.options import ExportOptions
from glus_edge.runtime.errors import InputError, OutputError
from glus_edge.runtime.video.video import open_video
from glus_edge.training import ship as command
from glus_edge.training.data.demo_video import DEMO_FRAMES, DEMO_SEED, DEMO_SENTENCES, DEMO_SIDE, write_demo_video
from glus_edge.training.data.video import SETS
from glus_edge.training.learner import Learner, build_learner
from glus_edge.training.packing import unpack
from glus_edge.training.ship import NAME, ShipOptions, ship
from glus_edge.training.state_file import save_state
from tests.training.tiny import tiny_settings

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("one_thread")]


@pytest.fixture
def run(learner: Learner, tmp_path: Path) -> Path:
    save_state(tmp_path / "state.pt", learner, None, {"stage": 3, "step": 5})
    return tmp_path


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> list[ExportOptions]:
    """Stands for the export, which has tests of its own: a bundle of the size its weights are said to have."""
    asked: list[ExportOptions] = []

    def export(options: ExportOptions, report: object) -> None:
        assert (options.checkpoint / "pytorch_model.bin").is_file()
        assert options.vision_tower is not None
        assert (options.vision_tower / "pytorch_model.bin").is_file()
        asked.append(options)
        options.output.mkdir()
        (options.output / "manifest.json").write_text(json.dumps({"format_version": 1, "weights": options.weights}))
        (options.output / "weights.onnx").write_bytes(bytes(13_000_000 if options.weights == "fp32" else 10))

    monkeypatch.setattr(command, "export_bundle", export)
    return asked


def test_one_command_replaces_bundle_and_clip(run: Path, exported: list[ExportOptions], tmp_path: Path) -> None:
    output, packed = tmp_path / "package", tmp_path / "packed"
    for weights in ("int8", "int4"):
        ship(ShipOptions(run=run, output=output, packed=packed, language_weights=weights), tiny_settings())
        assert json.loads((output / "bundle" / "manifest.json").read_text())["weights"] == weights
    assert [options.checkpoint.name for options in exported] == [NAME, NAME]
    assert {path.name for path in (output / "clip").iterdir()} == {"clip.mp4", "truth.json"}
    assert {path.name for path in output.iterdir()} == {"bundle", "clip"}
    assert unpack(packed, build_learner(tiny_settings())) == {"stage": 3, "step": 5}


def test_a_bundle_that_is_too_large_replaces_nothing(run: Path, exported: list[ExportOptions], tmp_path: Path) -> None:
    output, packed = tmp_path / "package", tmp_path / "packed"
    ship(ShipOptions(run=run, output=output, packed=packed), tiny_settings())
    with pytest.raises(OutputError, match=r"got 13\.0 MB, expected at most 12 MB"):
        ship(ShipOptions(run=run, output=output, packed=packed, language_weights="fp32"), tiny_settings())
    assert json.loads((output / "bundle" / "manifest.json").read_text())["weights"] == "int8"


def test_a_run_without_the_state_asked_for_is_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"best\.pt: cannot be read"):
        ship(ShipOptions(run=run, state="best", output=tmp_path / "package", packed=tmp_path), tiny_settings())


def test_the_clip_is_the_same_every_time_and_of_no_set(tmp_path: Path) -> None:
    pictures = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        write_demo_video(tmp_path / name)
        video = open_video(tmp_path / name / "clip.mp4")
        pictures.append(np.stack([frame.rgb for frame in video.frames()]).astype(int))
    assert (tmp_path / "one" / "truth.json").read_bytes() == (tmp_path / "other" / "truth.json").read_bytes()
    assert pictures[0].shape == (DEMO_FRAMES, DEMO_SIDE, DEMO_SIDE, 3)
    assert np.abs(pictures[0] - pictures[1]).mean() < 3  # levels of 255
    assert len(DEMO_SENTENCES) >= 3
    assert all(each.first_seed + 1000 * each.videos < DEMO_SEED for each in SETS.values())
