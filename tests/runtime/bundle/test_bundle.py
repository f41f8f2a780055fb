import json
import os
import shutil

import numpy as np
import pytest

from glus_edge.runtime.backends.onnxruntime_cuda import OnnxRuntimeCudaBackend
from glus_edge.runtime.backends.onnxruntime_engine import OnnxRuntimeBackend
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.errors import BundleError, EngineError

pytestmark = pytest.mark.torch  # the bundle is exported first


@pytest.fixture
def copy(golden_bundle, tmp_path):
    return shutil.copytree(golden_bundle, tmp_path / "bundle")


def edit(bundle, change):
    path = bundle / "manifest.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def resign(bundle, *keys):
    """Makes the manifest agree with a file that was changed."""
    from glus_edge.runtime.bundle.bundle import sha256

    def change(document):
        entry = document
        for key in keys:
            entry = entry[key]
        entry["sha256"], entry["size_bytes"] = sha256(bundle / entry["file"]), (bundle / entry["file"]).stat().st_size

    edit(bundle, change)


def assert_refused(bundle, match):
    with pytest.raises(BundleError, match=match) as caught:
        Bundle.open(bundle)
    assert "\n" not in str(caught.value)


def test_a_bundle_opens_and_gives_its_tables(golden_bundle):
    bundle = Bundle.open(golden_bundle)
    assert bundle.token_embedding().shape == (451, 64)
    assert bundle.tokenizer().token_to_id("[SEG]") == bundle.manifest.prompt.segment_token_id


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path):
    assert_refused(tmp_path, "expected a bundle; make one with `glus-edge export`")


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"format_version": 1}', "[" * 200_000])
def test_a_manifest_that_is_none_is_refused(copy, content):
    (copy / "manifest.json").write_text(content)
    assert_refused(copy, r"manifest\.json")


def test_a_bundle_that_cannot_be_looked_at_is_said(copy, monkeypatch):
    assert_refused("b" * 300, "cannot be read .File name too long., expected a bundle's manifest")

    def refused(path, *arguments, **settings):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(type(copy), "open", refused)
        assert_refused(copy, "cannot be read .Permission denied., expected")
    monkeypatch.setattr("glus_edge.runtime.bundle.bundle.sha256", refused)
    assert_refused(copy, "tokenizer.json: cannot be read .Permission denied., expected the file manifest.json names")


def test_a_newer_bundle_says_to_upgrade(copy):
    edit(copy, lambda document: document.update(format_version=99, something_new={}))
    assert_refused(copy, "got bundle format 99, expected 1 or older; upgrade glus-edge")


@pytest.mark.parametrize(
    "name", ["mask_decoder.onnx", "language_model.onnx.data", "tokenizer.json", "token_embedding.npy"]
)
def test_a_file_that_was_changed_is_named(copy, name):
    path = copy / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert_refused(copy, f"{name}: got SHA-256")


@pytest.mark.parametrize("name", ["mask_decoder.onnx", "token_embedding.npy"])
def test_a_file_that_is_missing_or_cut_off_is_named(copy, name):
    path = copy / name
    path.write_bytes(path.read_bytes()[:-1])
    assert_refused(copy, f"{name}: got .* bytes, expected")
    path.unlink()
    assert_refused(copy, f"{name}: got no file")


@pytest.mark.parametrize(
    "name", ["../tokenizer.json", "/etc/passwd", "sub/tokenizer.json", "..", "", "a\\b", "a" * 300]
)
def test_a_file_name_that_leaves_the_bundle_is_refused(copy, name):
    edit(copy, lambda document: document["tokenizer"].update(file=name))
    assert_refused(copy, "expected a plain name inside the bundle")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda d: d["graphs"].pop("mask_decoder"), "expected .*mask_decoder"),
        (lambda d: d["model"].update(language_width=0), "language_width: got 0"),
        (lambda d: d["model"].update(language_heads=7), "expected each to divide"),
        (lambda d: d["model"].update(image_size="128"), "model.image_size: got '128', expected int"),
        (lambda d: d["graphs"]["mask_decoder"].update(compute="float8"), "expected float32 or float16"),
        (lambda d: d["memory"].update(slots=1 << 40), "slots: got"),
        (lambda d: d["clip"].update(size=57), "clip.size: got 57, expected 56"),
        (lambda d: d["sam"].update(size=1 << 40), "sam.size: got"),
        (lambda d: d["sam"].update(std=[0.2, 0, 0.2]), "sam: got mean .*, std .*, expected numbers, std above 0"),
        (lambda d: d["clip"].update(mean=[0.2, float("nan"), 0.2]), "clip: got mean .*nan"),
        (lambda d: d["prompt"].update(image="<im_start><im_end>"), "prompt.image: got .*, expected <image> in it once"),
        (lambda d: d["prompt"].update(begin_token_id=-1), "begin_token_id: got -1, expected 0 to 450"),
        (lambda d: d["prompt"].update(segment_token_id=451), "segment_token_id: got 451, expected 0 to 450"),
    ],
)
def test_a_manifest_whose_values_cannot_be_is_refused(copy, change, match):
    edit(copy, change)
    assert_refused(copy, match)


def test_an_embedding_table_of_another_shape_is_refused(copy):
    np.save(copy / "token_embedding.npy", np.zeros((3, 64), np.float32))
    resign(copy, "token_embedding")
    with pytest.raises(BundleError, match=r"got float32 \[3, 64\], expected float or int8 \[451, 64\]"):
        Bundle.open(copy).token_embedding()


@pytest.mark.parametrize("storage", ["fp16", "int8"])
def test_an_embedding_table_may_be_stored_smaller_and_is_mapped_all_the_same(copy, golden_bundle, storage):
    from glus_edge.export.language.token_embedding import write_table

    whole = Bundle.open(golden_bundle).token_embedding()[:]
    write_table(copy / "token_embedding.npy", storage, 64, 451, iter([whole[:200], whole[200:]]))
    resign(copy, "token_embedding")
    table = Bundle.open(copy).token_embedding()
    assert (table.precision, len(table)) == (storage, 451)
    rows = np.array([450, 3, 3])
    assert np.linalg.norm(table[rows] - whole[rows]) < 0.01 * np.linalg.norm(whole[rows])


def test_an_embedding_table_with_a_pickle_in_it_is_not_read(copy):
    np.save(copy / "token_embedding.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    resign(copy, "token_embedding")
    with pytest.raises(BundleError, match="expected a .npy table"):
        Bundle.open(copy).token_embedding()


def test_a_graph_that_is_another_is_refused_before_it_runs(copy):
    shutil.copy(copy / "memory_encoder.onnx", copy / "mask_decoder.onnx")
    resign(copy, "graphs", "mask_decoder", "graph")
    with pytest.raises(BundleError, match="mask_decoder.onnx: input features_stride_8: got None, expected tensor"):
        OnnxRuntimeBackend(Bundle.open(copy)).open("mask_decoder")


def test_a_graph_that_is_no_graph_is_refused(copy):
    (copy / "mask_decoder.onnx").write_bytes(b"not a graph")
    resign(copy, "graphs", "mask_decoder", "graph")
    with pytest.raises(BundleError, match="mask_decoder.onnx: got no ONNX graph"):
        OnnxRuntimeBackend(Bundle.open(copy)).open("mask_decoder")


def test_a_provider_that_is_not_there_is_an_error_and_not_another_provider(golden_bundle):
    with pytest.raises(EngineError, match="CUDAExecutionProvider: not in this ONNX Runtime"):
        OnnxRuntimeCudaBackend.open_device(Bundle.open(golden_bundle))


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04" + bytes(99), b"\x93NUMPY\x01\x00\x10\x00{'descr': (((((\n", b"\x93NUMPY\x02\x00"],
    ids=["empty", "zip", "unfinished", "cut"],
)
def test_a_table_that_is_no_npy_is_refused(copy, content):
    (copy / "token_embedding.npy").write_bytes(content)
    resign(copy, "token_embedding")
    with pytest.raises(BundleError, match="expected a .npy table"):
        Bundle.open(copy).token_embedding()


def test_a_folder_whose_name_is_no_text_is_refused(copy, tmp_path):
    named = tmp_path / os.fsdecode(b"b\xff")
    named.symlink_to(copy)
    with pytest.raises(BundleError, match="got a name that is no UTF-8"):
        Bundle.open(named)


def test_what_fails_while_running_names_the_graph_and_its_shapes(copy, monkeypatch):
    engine = OnnxRuntimeBackend(Bundle.open(copy)).open("memory_encoder")
    model = Bundle.open(copy).manifest.model
    features = np.zeros((2, model.segment_width, model.grid, model.grid), np.float32)
    masks = np.zeros((2, 1, model.mask_side, model.mask_side), np.float32)
    slot = np.empty((2, model.memory_width, model.grid, model.grid), np.float32)
    wrong = np.zeros((3, *masks.shape[1:]), np.float32)
    monkeypatch.setattr("glus_edge.runtime.backends.onnxruntime_engine.check_tensors", lambda *arguments: {})
    with pytest.raises(EngineError, match=r"memory_encoder: ONNX Runtime failed on .*mask_logits 3 x 1 x"):
        engine.run({"conditioned_features": features, "mask_logits": wrong}, {"memory_slot": slot})
    engine.run({"conditioned_features": features, "mask_logits": masks}, {"memory_slot": slot})
    assert np.isfinite(slot).all()
