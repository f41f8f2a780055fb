"""A golden bundle calibrated end to end: measured, chosen, written, run."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file, save_file

from glus_edge.benchmarks.memory_video import MemoryVideo
from glus_edge.calibration import calibrate as module
from glus_edge.calibration.budget import Budget
from glus_edge.calibration.bundle_files import size_bytes
from glus_edge.calibration.calibrate import apply, calibrate
from glus_edge.calibration.clips import Clip, open_clips
from glus_edge.calibration.embedding import embedding_bytes
from glus_edge.calibration.encoder_statistics import encoder_feeds, encoder_ranges
from glus_edge.calibration.graph_matrices import graph_matrices
from glus_edge.calibration.qdq import EightBits, with_eight_bits
from glus_edge.calibration.recipe import RECIPE, read_recipe
from glus_edge.calibration.settings import CalibrationSettings
from glus_edge.runtime import cli
from glus_edge.runtime.bundle import Bundle
from glus_edge.runtime.errors import BundleError, InputError, OutputError
from glus_edge.runtime.preprocess import clip_pixels
from glus_edge.runtime.segmenter import Segmenter
from tests.runtime.golden import FRAMES, relative_l2, sentence

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    (folder / "balls").symlink_to(FRAMES)
    (folder / "balls.txt").write_text(f"{sentence('exp0')}\n\n{sentence('exp1')}\n")
    (folder / "broken.mp4").write_bytes(b"nothing")
    (folder / "broken.txt").write_text("a dog\n")
    return folder


def settings(bundle: Path, clips: Path, output: Path, **changes: object) -> CalibrationSettings:
    few = {"count": 2, "frames": 3, "sentences": 1, "images": 2, "prompts": 2, "rank": "tensors"}
    return CalibrationSettings(bundle, str(clips), output, **(few | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def lowest(golden_bundle: Path, clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything at its lowest: an int4 language model, int8 encoders."""
    output = tmp_path_factory.mktemp("calibrated") / "lowest"
    calibrate(settings(golden_bundle, clips, output, embedding="int8", smooth=True), lambda line: None)
    return output


def masks(bundle: Path) -> np.ndarray:
    with Segmenter.open(bundle) as segmenter:
        results = iter(segmenter.segment(FRAMES, [sentence("exp0")]))
        return np.stack([next(results).masks for _ in range(3)])


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
    assert sorted(path.name for path in lowest.parent.iterdir()) == ["lowest"]


def test_the_recipe_says_what_was_chosen_and_why(lowest: Path) -> None:
    recipe = read_recipe(lowest / RECIPE)
    matrix = recipe.graphs["image_encoder"]["trunk.blocks.2.attn.qkv.weight"]
    assert matrix.precision == "int8"
    assert matrix.method in ("max", "percentile", "mse")
    assert 0 < matrix.error["int8"] < 0.1
    query = recipe.graphs["language_model"]["model.layers.1.self_attn.q_proj.weight"]
    assert query.method == "awq"
    assert query.error["int8"] < query.error["int4 awq"] <= query.error["int4"] * 1.2
    manifest = Bundle.open(lowest).manifest
    assert manifest.recipe is not None
    assert manifest.provenance["calibration_clips"].endswith(": balls")


def test_an_edited_recipe_is_applied(lowest: Path, golden_bundle: Path, tmp_path: Path) -> None:
    for name in (RECIPE, "recipe.safetensors"):
        (tmp_path / name).write_bytes((lowest / name).read_bytes())
    document = json.loads((tmp_path / RECIPE).read_text())
    for graph in ("clip_encoder", "image_encoder"):
        for matrix in document["graphs"][graph].values():
            matrix["precision"] = "source"
    document["graphs"]["language_model"]["lm_head.weight"]["precision"] = "int8"
    (tmp_path / RECIPE).write_text(json.dumps(document))
    manifest = apply(golden_bundle, tmp_path / RECIPE, tmp_path / "edited", False, lambda line: None)
    assert manifest.graphs["image_encoder"] == Bundle.open(golden_bundle).manifest.graphs["image_encoder"]
    stored = onnx.load(tmp_path / "edited" / "language_model.onnx", load_external_data=False).graph.initializer
    types = {tensor.name: tensor.data_type for tensor in stored}
    assert types["lm_head.weight"] == onnx.TensorProto.INT8
    assert types["model.layers.0.mlp.up_proj.weight"] == onnx.TensorProto.INT4
    masks(tmp_path / "edited")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: d["graphs"]["clip_encoder"]["mm_projector.weight"].update(precision="int3"),
            "precision: got 'int3'",
        ),
        (lambda d: d["graphs"]["clip_encoder"]["mm_projector.weight"].update(reach=None), "reach: got None"),
        (
            lambda d: d["graphs"]["clip_encoder"].update(nothing=d["graphs"]["clip_encoder"]["mm_projector.weight"]),
            "'nothing'",
        ),
        (lambda d: d["source_sha256"].update(clip_encoder="0"), "made from another clip_encoder"),
        (
            lambda d: d["graphs"]["clip_encoder"]["mm_projector.weight"].update(shift="nothing"),
            r"got no clip_encoder/nothing, expected the shift that recipe\.json names",
        ),
        (lambda d: d.update(version=9), "version 9"),
        (lambda d: d.update(awq="yes"), "awq: got 'yes'"),
        (lambda d: d["graphs"].update(clip={}), "graphs: got 'clip', expected some of"),
        (lambda d: d["graphs"]["clip_encoder"]["mm_projector.weight"].update(reach=float("inf")), "not JSON compliant"),
        (lambda d: d["measured"].update(j_and_f_lost=float("nan")), "not JSON compliant"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_named(
    lowest: Path, golden_bundle: Path, tmp_path: Path, change, message: str
) -> None:
    document = json.loads((lowest / RECIPE).read_text())
    change(document)
    (tmp_path / RECIPE).write_text(json.dumps(document))
    (tmp_path / "recipe.safetensors").write_bytes((lowest / "recipe.safetensors").read_bytes())
    with pytest.raises(InputError, match=message):
        apply(golden_bundle, tmp_path / RECIPE, tmp_path / "out", False, lambda line: None)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["model.layers.1.mlp.input", "image_encoder/trunk.blocks.2.attn.qkv.weight"])
def test_scales_of_another_size_are_named(lowest: Path, golden_bundle: Path, tmp_path: Path, name: str) -> None:
    document = json.loads((lowest / RECIPE).read_text())
    graph, _, matrix = name.rpartition("/")
    for known, entry in document["graphs"]["image_encoder"].items():
        entry["shift"] = matrix if graph and known == matrix else ""
    (tmp_path / RECIPE).write_text(json.dumps(document))
    save_file(load_file(lowest / "recipe.safetensors") | {name: torch.ones(5)}, tmp_path / "recipe.safetensors")
    with pytest.raises(InputError, match=rf"recipe\.safetensors: {name}: got 5 scales, expected \d\d"):
        apply(golden_bundle, tmp_path / RECIPE, tmp_path / "out", False, lambda line: None)


def test_a_graph_is_said_to_have_what_most_of_its_matrices_have(
    lowest: Path, golden_bundle: Path, tmp_path: Path
) -> None:
    document = json.loads((lowest / RECIPE).read_text()) | {"awq": False}
    kept = {"clip_encoder": "mm_projector.weight", "language_model": "lm_head.weight"}
    document["graphs"] = {graph: {name: document["graphs"][graph][name]} for graph, name in kept.items()}
    (tmp_path / RECIPE).write_text(json.dumps(document))
    manifest = apply(golden_bundle, tmp_path / RECIPE, tmp_path / "out", False, lambda line: None)
    assert {graph: manifest.graphs[graph].weights for graph in kept} == dict.fromkeys(kept, "fp32")


def test_a_size_counts_the_embedding_as_it_will_be(lowest: Path, golden_bundle: Path) -> None:
    source = Bundle.open(golden_bundle)
    smaller = embedding_bytes(source, "int8")
    assert 0 <= smaller - (lowest / "token_embedding.npy").stat().st_size < 256
    budget = Budget(size_bytes(source.manifest) - embedding_bytes(source, "source") + smaller, None)
    assert module._taken([], budget, source, "int8", None) == 0
    with pytest.raises(InputError, match="--budget"):
        module._taken([], budget, source, "source", None)


def test_an_output_in_the_way_is_said_before_anything_is_kept(golden_bundle: Path, clips: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(OutputError, match="exists already"):
        calibrate(settings(golden_bundle, clips, tmp_path / "out"), lambda line: None)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("count", "images", "taken"), [(3, 7, [3, 2, 2]), (3, 2, [1, 1, 0]), (11, 16, [2] * 5 + [1] * 6)]
)
def test_the_encoders_see_frames_of_every_clip(golden_bundle: Path, count: int, images: int, taken: list[int]) -> None:
    rgb = np.arange(count, dtype=np.uint8)[:, None, None, None, None] * np.ones((1, 4, 8, 8, 3), np.uint8)
    clips = [
        Clip(str(n), ("a dog",), lambda frames=frames: MemoryVideo("clip", frames), None)
        for n, frames in enumerate(rgb)
    ]
    bundle = Bundle.open(golden_bundle)
    feeds = encoder_feeds(bundle, clips, images)["clip_encoder"]
    own = [clip_pixels(frames[0], bundle.manifest.clip)[None] for frames in rgb]
    assert [sum(np.array_equal(feed["clip_pixels"], each) for feed in feeds) for each in own] == taken


def test_a_size_is_met_and_one_that_cannot_be_says_the_nearest(
    golden_bundle: Path, clips: Path, tmp_path: Path
) -> None:
    output = tmp_path / "small"
    calibrate(settings(golden_bundle, clips, output, budget="7.0 MB", encoders="none"), lambda line: None)
    size = sum(path.stat().st_size for path in output.iterdir() if not path.name.startswith(("manifest", "recipe")))
    assert size <= 7_000_000
    precisions = {matrix.precision for matrix in read_recipe(output / RECIPE).graphs["language_model"].values()}
    assert "source" in precisions or "int8" in precisions
    with pytest.raises(InputError, match=r"got 1\.0 MB, expected at least 6\.\d MB"):
        calibrate(settings(golden_bundle, clips, tmp_path / "tiny", budget="1 MB", encoders="none"), lambda line: None)
    assert not (tmp_path / "tiny").exists()


def test_harm_is_measured_on_masks_and_what_was_measured_is_not_measured_again(
    golden_bundle: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = settings(golden_bundle, clips, tmp_path / "out", rank="masks", encoders="none", budget="100 J&F", frames=2)
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


def test_a_bundle_that_is_rounded_already_is_refused(golden_bundle_int4: Path, clips: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="has int4 weights, expected fp32 or fp16 to calibrate from"):
        calibrate(settings(golden_bundle_int4, clips, tmp_path / "out", encoders="none"), lambda line: None)


def test_clips_that_cannot_be_read_are_passed_over_unless_all_are(clips: Path, tmp_path: Path) -> None:
    (clip,) = open_clips(str(clips), 8)
    assert clip.name == "balls"
    assert clip.sentences == (sentence("exp0"), sentence("exp1"))
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    (tmp_path / "broken.txt").write_text("a dog")
    with pytest.raises(InputError, match=r"has no clip that can be read \(1 entries, the first: .*broken\.mp4"):
        open_clips(str(tmp_path), 8)
    (tmp_path / "broken.txt").unlink()
    with pytest.raises(InputError, match=r"broken\.txt: cannot be read"):
        open_clips(str(tmp_path), 8)
    with pytest.raises(InputError, match="no such folder"):
        open_clips(str(tmp_path / "nowhere"), 8)


def test_generated_clips_know_the_truth() -> None:
    first, second = open_clips("generated", 2)
    assert first.name != second.name
    assert first.truth is not None
    assert first.truth(0).shape[0] == len(first.sentences)


@pytest.mark.parametrize("graph", ["clip_encoder", "image_encoder"])
@pytest.mark.parametrize(("precision", "bound"), [("int8", 0.1), ("fp8", 0.2)])
@pytest.mark.tensorrt_rtx
def test_encoders_in_eight_bits_stay_near_and_compile(
    golden_bundle: Path, clips: Path, tmp_path: Path, graph: str, precision: str, bound: float
) -> None:
    from glus_edge.runtime.tensorrt_build import BuildSettings, plan_from_onnx
    from glus_edge.runtime.tensorrt_module import load_tensorrt

    source = Bundle.open(golden_bundle)
    model = onnx.load(source.graph_path(graph))
    feeds = encoder_feeds(source, open_clips(str(clips), 1), 2)[graph]
    ranges = encoder_ranges(model, feeds, (precision,)).ranges
    choices = {each.matrix.name: EightBits(precision, each.reach[precision]) for each in ranges}
    path = tmp_path / f"{graph}.onnx"
    path.write_bytes(with_eight_bits(model, graph_matrices(model), choices).SerializeToString())
    import onnxruntime

    whole, rounded = (
        onnxruntime.InferenceSession(str(each), providers=["CPUExecutionProvider"]).run(None, dict(feeds[0]))
        for each in (source.graph_path(graph), path)
    )
    assert all(1e-4 < relative_l2(got, exact) < bound for got, exact in zip(rounded, whole, strict=True))
    target = BuildSettings(compute_capability="8.9")
    plan = plan_from_onnx(load_tensorrt("tensorrt-rtx"), graph, path, source.signature(graph), target)
    assert plan.size_bytes > 10_000


def test_the_command_wants_clips_or_a_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["calibrate", str(tmp_path), "--output", str(tmp_path / "out")]) == 2
    assert "expected exactly one" in capsys.readouterr().err
    arguments = ["calibrate", str(tmp_path), "--output", str(tmp_path / "out"), "--clips", "generated"]
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
