import argparse
import errno
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file

from glus_edge.export import command, export
from glus_edge.export.checkpoint.checkpoint import Checkpoint
from glus_edge.export.checkpoint.vision_tower import VisionTower
from glus_edge.export.options import ExportOptions
from glus_edge.export.staging import new_folder
from glus_edge.export.vision.modules import load_modules
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.signatures import GRAPHS
from glus_edge.runtime.errors import CheckpointError, InputError, OutputError, ParityError
from glus_edge.runtime.pixels.preprocess import sam_pixels
from tests.conftest import export_golden
from tests.export import checkpoint_files as files

pytestmark = pytest.mark.torch

MANIFEST = '{"format_version": 1}'


def listing(path):
    return sorted(entry.name for entry in path.iterdir())


def test_a_bundle_holds_what_its_manifest_names_and_nothing_else(golden_bundle):
    bundle = Bundle.open(golden_bundle)
    graphs = [f"{name}.onnx" for name in GRAPHS]
    others = ["language_model.onnx.data", "manifest.json", "token_embedding.npy", "tokenizer.json"]
    assert listing(golden_bundle) == sorted(graphs + others)
    manifest = bundle.manifest
    assert (manifest.model.image_tokens, manifest.model.grid, manifest.model.mask_side) == (4, 8, 32)
    assert (manifest.prompt.segment_token_id, manifest.prompt.begin_token_id) == (448, 1)
    assert (manifest.clip.size, manifest.sam.size, manifest.sam.mean) == (56, 128, (0.485, 0.456, 0.406))


def test_the_manifest_tells_its_origin_without_paths(golden_bundle_reference_gamma, golden_bundle_fp16):
    text = (golden_bundle_fp16 / "manifest.json").read_text()
    assert str(files.GOLDEN) not in text
    provenance = json.loads(text)["provenance"]
    assert provenance["sam2_config"] == "sam2"
    assert provenance["vision_tower"] == "clip"
    assert provenance["torch"] == torch.__version__
    assert provenance["fuser_gamma"] == "checkpoint"
    assert "reference" in Bundle.open(golden_bundle_reference_gamma).manifest.provenance["fuser_gamma"]
    assert all("no finding" in provenance[f"portability_of_{name}"] for name in GRAPHS)
    graphs = json.loads(text)["graphs"]
    assert {(graph["compute"], graph["weights"]) for graph in graphs.values()} == {("float16", "fp16")}


@pytest.mark.parametrize(
    ("fixture", "run", "other_run"),
    [
        ("golden_bundle", "exp0", "exp0_gammareset"),
        ("golden_bundle_reference_gamma", "exp1_gammareset", "exp1"),
    ],
)
def test_the_graphs_chain_into_the_references_memories(request, fixture, run, other_run):
    bundle = Bundle.open(request.getfixturevalue(fixture))
    expected = load_file(files.GOLDEN / "expected.safetensors")
    image = cv2.cvtColor(cv2.imread(str(files.GOLDEN / "frames" / "00000.png")), cv2.COLOR_BGR2RGB)
    maps = run_graph(bundle, "image_encoder", sam_pixels=sam_pixels(image, bundle.manifest.sam)[None])
    masks = run_graph(
        bundle,
        "mask_decoder",
        conditioned_features=maps["features_without_memory"],
        features_stride_8=maps["features_stride_8"],
        features_stride_4=maps["features_stride_4"],
        segment_embedding=expected[f"run/{run}/seg_embed"][:1],
    )
    np.testing.assert_allclose(masks["mask_logits"], expected[f"run/{run}/low_res_masks"][:1], atol=2e-3)
    slot = run_graph(
        bundle,
        "memory_encoder",
        conditioned_features=maps["features_without_memory"],
        mask_logits=masks["mask_logits"],
    )["memory_slot"]
    np.testing.assert_allclose(slot, expected[f"run/{run}/maskmem"][:1], atol=1e-3)
    assert np.abs(slot - expected[f"run/{other_run}/maskmem"][:1]).max() > 0.1


def run_graph(bundle, name, **inputs):
    session = onnxruntime.InferenceSession(str(bundle.graph_path(name)), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def test_bfloat16_shards_give_the_same_modules_as_their_float32_values(tmp_path):
    rounded = {name: tensor.bfloat16() for name, tensor in files.golden_weights().items()}
    whole = {name: tensor.float() for name, tensor in rounded.items()}
    sharded = load(files.sharded_bin(tmp_path / "shards", rounded))
    single = load(files.safetensors(tmp_path / "single", whole))
    for name, module in single.graphs().items():
        other = sharded.graphs()[name].state_dict()
        assert all(torch.equal(tensor, other[key]) for key, tensor in module.state_dict().items())


def load(path):
    return load_modules(Checkpoint.open(path), VisionTower.open(files.GOLDEN / "clip"), str(files.SAM2_YAML))


@pytest.fixture
def quick(monkeypatch):
    """An export whose slow steps are over at once: for what happens around them."""

    def write_bundle(options, folder, report, frames):
        (folder / "manifest.json").write_text(MANIFEST)

    monkeypatch.setattr(export, "write_bundle", write_bundle)


@pytest.mark.parametrize("error", [ParityError("missed"), KeyboardInterrupt(), CheckpointError("x")])
def test_an_export_that_fails_leaves_nothing(tmp_path, monkeypatch, error):
    def failing(options, folder, report, frames):
        (folder / "half.onnx").write_bytes(b"half")
        raise error

    monkeypatch.setattr(export, "write_bundle", failing)
    with pytest.raises(type(error)):
        export_golden(tmp_path / "out" / "bundle")
    assert listing(tmp_path / "out") == []


def test_an_export_that_fails_leaves_the_earlier_bundle_as_it_was(tmp_path, monkeypatch):
    output = tmp_path / "bundle"
    output.mkdir()
    (output / "manifest.json").write_text(MANIFEST)

    def failing(options, folder, report, frames):
        raise ParityError("missed")

    monkeypatch.setattr(export, "write_bundle", failing)
    with pytest.raises(ParityError):
        export_golden(output, overwrite=True)
    assert listing(tmp_path) == ["bundle"]
    assert (output / "manifest.json").read_text() == MANIFEST


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    def fill():
        with new_folder(tmp_path / "bundle", overwrite=False) as folder:
            (folder / "a").write_bytes(b"1")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match=r"bundle: cannot be written \(No space left on device\); free some space"):
        fill()
    assert listing(tmp_path) == []


def test_a_bundle_is_replaced_only_when_asked(tmp_path, quick):
    export_golden(tmp_path / "bundle")
    (tmp_path / "bundle" / "old.onnx").touch()
    with pytest.raises(OutputError, match="exists already"):
        export_golden(tmp_path / "bundle")
    export_golden(tmp_path / "bundle", overwrite=True)
    assert listing(tmp_path / "bundle") == ["manifest.json"]
    assert listing(tmp_path) == ["bundle"]


def test_a_folder_that_is_no_bundle_is_never_replaced(tmp_path, quick):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").touch()
    with pytest.raises(OutputError, match="is no bundle"):
        export_golden(tmp_path / "home", overwrite=True)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is not a folder"):
        export_golden(tmp_path / "file", overwrite=True)
    assert listing(tmp_path / "home") == ["thesis.tex"]


@pytest.mark.parametrize("manifest", ['{"manifest_version": 3}', "[]", "{}", "no JSON", '{"format_version": "1"}'])
def test_a_folder_with_another_manifest_is_never_replaced(tmp_path, quick, manifest):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "manifest.json").write_text(manifest)
    with pytest.raises(OutputError, match="is no bundle"):
        export_golden(tmp_path / "app", overwrite=True)
    assert (tmp_path / "app" / "manifest.json").read_text() == manifest


def test_a_bundle_with_something_else_in_it_is_never_replaced(tmp_path, quick):
    export_golden(tmp_path / "bundle")
    (tmp_path / "bundle" / "notes.txt").write_text("precious")
    with pytest.raises(OutputError, match="holds 'notes.txt', which is no part of a bundle"):
        export_golden(tmp_path / "bundle", overwrite=True)
    assert (tmp_path / "bundle" / "notes.txt").read_text() == "precious"


def test_a_file_that_cannot_be_read_is_named_and_not_the_output(tmp_path):
    source = tmp_path / "model.safetensors"
    with (
        pytest.raises(InputError, match=r"model\.safetensors: cannot be used \(Permission denied\)"),
        new_folder(tmp_path / "bundle", overwrite=False),
    ):
        raise PermissionError(errno.EACCES, "Permission denied", str(source))
    assert listing(tmp_path) == []


def test_an_error_without_a_file_is_not_laid_on_the_output(tmp_path):
    with (
        pytest.raises(OutputError, match=r"the system does not say which"),
        new_folder(tmp_path / "bundle", overwrite=False),
    ):
        raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize("length", [240, 255])
def test_a_long_name_is_written(tmp_path, quick, length):
    export_golden(tmp_path / ("b" * length))
    assert listing(tmp_path) == ["b" * length]


def test_a_name_too_long_for_the_file_system_is_one_line(tmp_path, quick):
    with pytest.raises(OutputError, match="File name too long"):
        export_golden(tmp_path / ("b" * 256))
    assert listing(tmp_path) == []


def test_what_a_killed_process_put_aside_is_brought_back(tmp_path):
    (tmp_path / ".bundle.partial-replaced").mkdir()
    (tmp_path / ".bundle.partial-replaced" / "manifest.json").write_text(MANIFEST)
    (tmp_path / ".bundle.partial").mkdir()  # of a kill before that
    with (
        pytest.raises(OutputError, match="exists already"),
        new_folder(tmp_path / "bundle", overwrite=False),
    ):
        pytest.fail("went on")
    assert listing(tmp_path) == ["bundle"]
    assert (tmp_path / "bundle" / "manifest.json").read_text() == MANIFEST


@pytest.mark.parametrize("output", [".", "a/.."])
def test_a_folder_without_a_name_of_its_own_is_refused_before_the_work(tmp_path, monkeypatch, quick, output):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="has no name of its own"):
        export_golden(Path(output))
    assert not any(tmp_path.iterdir())


def test_a_mount_point_is_refused_before_the_work(quick):
    with pytest.raises(OutputError, match="/proc: is a mount point"):
        export_golden(Path("/proc"), overwrite=True)


def test_a_tokenizer_of_more_tokens_than_the_embedding_has_rows_is_said_before_the_work(tmp_path, monkeypatch):
    weights = files.golden_weights()
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        weights[name] = weights[name][:448].clone()  # the pieces alone
    config = files.golden_config() | {"vocab_size": 448}
    checkpoint = files.single_bin(tmp_path / "c", weights, config)
    monkeypatch.setattr(export, "write_vision_graphs", lambda *phase: pytest.fail("went on"))
    with pytest.raises(CheckpointError, match="got a tokenizer of 451 tokens and a vocab_size of 448"):
        export_golden(tmp_path / "bundle", checkpoint=checkpoint)
    assert listing(tmp_path) == ["c"]


@pytest.mark.parametrize("place", ["beside", "inside", "here"])
def test_the_vision_tower_config_json_names_is_found(tmp_path, monkeypatch, place):
    config = files.golden_config() | {"mm_vision_tower": "openai/clip-vit"}
    checkpoint = files.single_bin(tmp_path / "models" / "glus", files.golden_weights(), config)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    folder = {"beside": checkpoint.parent, "inside": checkpoint, "here": here}[place] / "openai" / "clip-vit"
    options = ExportOptions(checkpoint=checkpoint, output=tmp_path / "out")
    with pytest.raises(CheckpointError, match=r"vision tower openai/clip-vit: no such folder, .* --vision-tower"):
        options.vision_tower_folder("openai/clip-vit")
    shutil.copytree(files.GOLDEN / "clip", folder)
    assert options.vision_tower_folder("openai/clip-vit").resolve() == folder


@pytest.mark.parametrize("name", ["checkpoint", "output", "vision_tower"])
def test_a_name_that_is_not_utf8_is_refused_before_the_work(tmp_path, name):
    paths = {"checkpoint": tmp_path, "output": tmp_path / "out", name: tmp_path / "r\udce9s"}
    with pytest.raises(InputError, match="which is not UTF-8"):
        ExportOptions(**paths)


def test_the_folder_given_is_used_as_it_is(tmp_path):
    options = ExportOptions(checkpoint=tmp_path, output=tmp_path / "out", vision_tower=tmp_path / "clip")
    assert options.vision_tower_folder("anything") == tmp_path / "clip"


@pytest.mark.parametrize("wrong", [{"precision": "bf16"}, {"language_weights": "int2"}])
def test_a_precision_that_does_not_exist_is_refused(tmp_path, wrong):
    with pytest.raises(InputError, match="expected one of"):
        ExportOptions(checkpoint=tmp_path, output=tmp_path, **wrong)


def test_the_command_has_the_options_of_an_export(golden_bundle, tmp_path, monkeypatch, capsys):
    seen = []

    def export_bundle(options, report):
        seen.append(options)
        report("reading")
        shutil.copytree(golden_bundle, options.output)
        return Bundle.open(golden_bundle).manifest

    monkeypatch.setattr(export, "export_bundle", export_bundle)
    parser = argparse.ArgumentParser()
    command.configure(parser)
    arguments = ["ckpt", "--vision-tower", "clip", "--sam2-config", "sam2_hiera_t", "--output", str(tmp_path / "b")]
    arguments += ["--precision", "fp16", "--language-weights", "int4", "--reference-gamma", "--overwrite"]
    assert command.run(parser.parse_args(arguments)) == 0
    (options,) = seen
    assert (str(options.checkpoint), str(options.vision_tower), options.sam2_config) == ("ckpt", "clip", "sam2_hiera_t")
    assert (options.compute, options.weights) == ("float16", "int4")
    assert options.reference_gamma
    assert options.overwrite
    captured = capsys.readouterr()
    assert "reading" in captured.err
    assert "memory_encoder" in captured.out
    assert "MB in" in captured.out


@pytest.mark.parametrize("named", ["/home/another-user/clip", "a" * 300, "~nobody/clip"])
def test_a_vision_tower_out_of_reach_is_named(tmp_path, monkeypatch, named):
    checkpoint = files.single_bin(
        tmp_path / "c", files.golden_weights(), files.golden_config() | {"mm_vision_tower": named}
    )
    is_file = Path.is_file

    def denied(path):
        if str(path).startswith("/home/another-user"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", denied)
    with pytest.raises(CheckpointError, match="none that can be read.* --vision-tower") as caught:
        export_golden(tmp_path / "bundle", checkpoint=checkpoint, vision_tower=None)
    assert named[:200] in str(caught.value)
    assert listing(tmp_path) == ["c"]


def test_a_base_of_the_rotary_positions_read_wrong_does_not_pass_parity(tmp_path, monkeypatch):
    config = files.golden_config() | {
        "rope_theta": None,
        "rope_parameters": {"rope_theta": 5e5, "rope_type": "default"},
    }
    checkpoint = files.single_bin(tmp_path / "c", files.golden_weights(), config)
    bundle = export_golden(tmp_path / "right", checkpoint=checkpoint)
    graph = onnx.load(bundle / "language_model.onnx", load_external_data=False)
    assert {entry.key: entry.value for entry in graph.metadata_props}["rope_theta"] == "500000.0"
    monkeypatch.setattr("glus_edge.export.checkpoint.language_config.rope_theta", lambda config: 1e4)
    with pytest.raises(ParityError, match=r"language_model: output segment_embedding"):
        export_golden(tmp_path / "wrong", checkpoint=checkpoint)
    assert not (tmp_path / "wrong").exists()


def test_a_checkpoint_saved_anew_by_current_libraries_gives_the_same_bundle(tmp_path, golden_bundle):
    """Shards without an index, tokenizer.json alone, CLIP as transformers 5 has it."""
    from tests.export.tokenizer.test_tokenizer import saved_by_transformers

    weights, checkpoint = files.golden_weights(), files.folder(tmp_path / "checkpoint")
    for path in checkpoint.glob("*token*"):
        path.unlink()
    saved_by_transformers(checkpoint)
    names = list(weights)
    for number in (1, 2):
        part = {name: weights[name].contiguous() for name in names[number - 1 :: 2]}
        save_file(part, checkpoint / f"model-{number:05d}-of-00002.safetensors")
    tower = tmp_path / "clip"
    shutil.copytree(files.GOLDEN / "clip", tower)
    vision = torch.load(tower / "pytorch_model.bin", weights_only=True)
    save_file({name.removeprefix("vision_model."): each for name, each in vision.items()}, tower / "model.safetensors")
    (tower / "pytorch_model.bin").unlink()
    settings = json.loads((tower / "preprocessor_config.json").read_text())
    (tower / "preprocessor_config.json").unlink()
    (tower / "processor_config.json").write_text(json.dumps({"image_processor": settings}))
    bundle = export_golden(tmp_path / "bundle", checkpoint=checkpoint, vision_tower=tower)
    for path in golden_bundle.glob("*.onnx*"):
        assert (bundle / path.name).read_bytes() == path.read_bytes(), path.name
    assert (bundle / "token_embedding.npy").read_bytes() == (golden_bundle / "token_embedding.npy").read_bytes()
    vocabularies = [json.loads((folder / "tokenizer.json").read_text()) for folder in (bundle, golden_bundle)]
    assert vocabularies[0]["model"]["vocab"] == vocabularies[1]["model"]["vocab"]
    assert vocabularies[0]["added_tokens"] == vocabularies[1]["added_tokens"]
