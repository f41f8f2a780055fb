"""A golden bundle calibrated end to end: measured, chosen, written, run."""

from pathlib import Path

import pytest

from glus_edge.calibration import calibrate as module
from glus_edge.calibration.budget import within_size
from glus_edge.calibration.bundle_files import size_bytes
from glus_edge.calibration.calibrate import calibrate
from glus_edge.calibration.choose import size_with_embedding
from glus_edge.calibration.embedding import embedding_bytes
from glus_edge.calibration.recipe import RECIPE, read_recipe
from glus_edge.runtime import cli
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.errors import BundleError, InputError, OutputError
from tests.calibration.calibrated import masks, settings

pytestmark = pytest.mark.torch


def test_everything_at_its_lowest_is_a_bundle_that_runs(lowest: Path, golden_bundle: Path) -> None:
    bundle = Bundle.open(lowest)
    graphs = bundle.manifest.graphs
    assert [graphs[name].weights for name in ("language_model", "clip_encoder", "image_encoder")] == [
        "int4",
        "int8",
        "int8",
    ]
    assert graphs["mask_decoder"] == Bundle.open(golden_bundle).manifest.graphs["mask_decoder"]
    assert bundle.token_embedding().precision == "int8"
    assert masks(lowest).shape == masks(golden_bundle).shape
    whole, small = ((path / "language_model.onnx.data").stat().st_size for path in (golden_bundle, lowest))
    assert small < 0.45 * whole
    assert sorted(path.name for path in lowest.parent.iterdir() if path.suffix != ".lock") == ["lowest"]


def test_a_size_counts_the_embedding_as_it_will_be(lowest: Path, golden_bundle: Path) -> None:
    source = Bundle.open(golden_bundle)
    smaller = embedding_bytes(source, "int8")
    assert 0 <= smaller - (lowest / "token_embedding.npy").stat().st_size < 256
    budget = size_bytes(source.manifest) - embedding_bytes(source, "source") + smaller
    assert within_size([], size_with_embedding(source, "int8"), budget) == 0
    with pytest.raises(InputError, match="--budget"):
        within_size([], size_with_embedding(source, "source"), budget)


def test_an_output_in_the_way_is_said_before_anything_is_kept(
    golden_bundle: Path, videos: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(OutputError, match="exists already"):
        calibrate(settings(golden_bundle, videos, tmp_path / "out"), lambda line: None)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_size_is_met_and_one_that_cannot_be_says_the_nearest(
    golden_bundle: Path, videos: Path, tmp_path: Path
) -> None:
    output = tmp_path / "small"
    calibrate(settings(golden_bundle, videos, output, budget="7.0 MB", encoders="none"), lambda line: None)
    size = sum(path.stat().st_size for path in output.iterdir() if not path.name.startswith(("manifest", "recipe")))
    assert size <= 7_000_000
    precisions = {matrix.precision for matrix in read_recipe(output / RECIPE).graphs["language_model"].values()}
    assert "source" in precisions or "int8" in precisions
    with pytest.raises(InputError, match=r"got 1\.0 MB, expected at least 6\.\d MB"):
        calibrate(settings(golden_bundle, videos, tmp_path / "tiny", budget="1 MB", encoders="none"), lambda line: None)
    assert not (tmp_path / "tiny").exists()


def test_harm_is_measured_on_masks_and_what_was_measured_is_not_measured_again(
    golden_bundle: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = settings(
        golden_bundle, videos, tmp_path / "out", rank="masks", encoders="none", budget="100 J&F", frames=2
    )
    lines: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_bundle", full_disk)
        with pytest.raises(OutputError, match="free some space"):
            calibrate(wanted, lines.append)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.calibration"]
    with monkeypatch.context() as patch:
        patch.setattr("glus_edge.calibration.measure.language_layers", None)
        patch.setattr("glus_edge.calibration.rank.write_graph", None)
        calibrate(wanted, lambda line: None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    recipe = read_recipe(tmp_path / "out" / RECIPE)
    assert recipe.provenance["j_and_f_against"] == "the unquantised bundle's masks"
    assert recipe.measured["j_and_f_of_source"] == 100.0
    assert recipe.measured["mask_iou_lost"] > 0
    assert recipe.harm["language_model/model.layers.1 int4"] >= recipe.harm["language_model/model.layers.1 int8"] >= 0
    assert sum(line.startswith("unit ") for line in lines) == 4


def full_disk(*arguments: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_bundle_that_is_rounded_already_is_refused(golden_bundle_int4: Path, videos: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="has int4 weights, expected fp32 or fp16 to calibrate from"):
        calibrate(settings(golden_bundle_int4, videos, tmp_path / "out", encoders="none"), lambda line: None)


def test_the_command_wants_videos_or_a_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["calibrate", str(tmp_path), "--output", str(tmp_path / "out")]) == 2
    assert "expected exactly one" in capsys.readouterr().err
    arguments = ["calibrate", str(tmp_path), "--output", str(tmp_path / "out"), "--videos", "generated"]
    assert cli.main([*arguments, "--rank", "guess"]) == 2
    assert "--rank: got 'guess', expected one of masks, tensors" in capsys.readouterr().err
    assert cli.main([*arguments, "--embedding", "int3"]) == 2
    assert "--embedding: got 'int3', expected one of source, fp16, int8" in capsys.readouterr().err
    assert cli.main([*arguments, "--budget", ""]) == 2
    assert "--budget: got ''" in capsys.readouterr().err
    assert cli.main([*arguments[:-2], "--recipe", "r.json", "--budget", "1 GB"]) == 2
    assert "--budget: got one beside --recipe" in capsys.readouterr().err
    assert cli.main([*arguments, "--rank", "tensors", "--budget", "1 J&F"]) == 2
    assert "expected --rank masks" in capsys.readouterr().err
