"""Recipes: what they say, and bundles made by edited ones."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file, save_file

from glus_edge.calibration.calibrate import apply
from glus_edge.calibration.finite import check_finite
from glus_edge.calibration.recipe import RECIPE, read_recipe
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.errors import InputError
from tests.calibration.calibrated import masks

pytestmark = pytest.mark.torch


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
    assert manifest.provenance["calibration_videos"].endswith(": balls")


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
        (
            lambda d: d["graphs"]["clip_encoder"]["mm_projector.weight"].update(reach=1e300),
            r"reach: got 1e\+300, expected the largest magnitude of its inputs, 1e-12 to",
        ),
        (lambda d: d["graphs"]["clip_encoder"]["mm_projector.weight"].update(reach=1e-38), "reach: got 1e-38"),
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


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("model.layers.1.mlp.input", 1e-38, "got 1e-38 to 1e-38, expected 1e-12 to"),
        ("model.layers.1.mlp.input", 1e30, "got 1e\\+30 to"),
        (
            "model.layers.1.mlp.inputs",
            1.0,
            "got 'model.layers.1.mlp.inputs', expected a shift or a group of recipe.json",
        ),
        ("image_encoder/nothing", 1.0, "got 'image_encoder/nothing', expected a shift or a group"),
    ],
)
def test_scales_out_of_range_or_of_nothing_are_named(
    lowest: Path, golden_bundle: Path, tmp_path: Path, name: str, value: float, message: str
) -> None:
    (tmp_path / RECIPE).write_bytes((lowest / RECIPE).read_bytes())
    held = load_file(lowest / "recipe.safetensors")
    save_file(held | {name: torch.full_like(next(iter(held.values())), value)}, tmp_path / "recipe.safetensors")
    with pytest.raises(InputError, match=message):
        apply(golden_bundle, tmp_path / RECIPE, tmp_path / "out", False, lambda line: None)
    assert not (tmp_path / "out").exists()


def test_a_constant_that_is_no_number_is_never_written(tmp_path: Path) -> None:
    value = onnx.numpy_helper.from_array(np.array([1.0, np.inf], np.float16), "norm.weight")
    graph = onnx.helper.make_graph([], "graph", [], [], [value])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "clip_encoder.onnx")
    with pytest.raises(InputError, match="clip_encoder: norm.weight would hold NaN or infinity"):
        check_finite(tmp_path / "clip_encoder.onnx")
