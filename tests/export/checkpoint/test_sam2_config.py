import pytest
import yaml

from glus_edge.export.checkpoint.sam2_config import OFFICIAL_NAMES, sam2_config
from glus_edge.export.vision.sam2_model import build_sam2
from glus_edge.runtime.errors import CheckpointError
from tests.export import checkpoint_files as files

pytestmark = pytest.mark.torch


def changed(tmp_path, *path, value):
    """The golden YAML with one value replaced."""
    document = yaml.safe_load(files.SAM2_YAML.read_text())
    node = document
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    target = tmp_path / "sam2.yaml"
    target.write_text(yaml.safe_dump(document))
    return str(target)


@pytest.mark.parametrize("name", OFFICIAL_NAMES)
@pytest.mark.parametrize("suffix", ["", ".yaml"])
def test_official_names_are_found_in_the_sam2_package(name, suffix):
    config = sam2_config(name + suffix)
    assert config["image_encoder"]["neck"]["d_model"] == 256
    assert config["image_size"] == 1024


def test_the_tiny_official_model_builds():
    model = build_sam2(sam2_config("sam2_hiera_t"))
    assert (model.image_size, model.hidden_dim, model.mem_dim) == (1024, 256, 64)
    assert model.memory_encoder.fuser.layers[0].gamma[0].item() == pytest.approx(1e-6)


@pytest.mark.parametrize("name", ["sam2.1_hiera_l", "sam2.1_hiera_l.yaml"])
def test_sam_2_1_is_refused_by_name(name):
    with pytest.raises(CheckpointError, match=r"GLUS uses SAM 2\.0, not 2\.1"):
        sam2_config(name)


def test_sam_2_1_is_refused_by_its_settings(tmp_path):
    with pytest.raises(CheckpointError, match=r"is a SAM 2\.1 configuration"):
        sam2_config(changed(tmp_path, "model", "no_obj_embed_spatial", value=True))


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "sam2.modeling.sam2_base.torch.load",
        "sam2.modeling.backbones.hieradet.g_pathmgr.open",
        "sam2.build_sam.build_sam2",
        7,
        None,
        ["os.system"],
        {"_target_": "os.system"},
    ],
)
def test_only_the_classes_of_sam_2_are_ever_called(tmp_path, target):
    path = changed(tmp_path, "model", "image_encoder", "trunk", "_target_", value=target)
    with pytest.raises(CheckpointError, match=r"image_encoder.trunk|_target_"):
        build_sam2(sam2_config(path))


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [
        ("_partial_", True, "got key '_partial_'"),
        ("_args_", [1], "got key '_args_'"),
        ("embed_dim", 10**9, "expected at most"),
        ("embed_dim", float("nan"), "expected at most"),
        ("embed_dim", "${oc.env:HOME}", "without interpolation"),
        ("stages", list(range(100)), "at most 64"),
        ("embed_dim", "wide", "does not fit"),
        ("unknown", 1, "does not fit"),
        ("weights_path", "weights.pt", "weights_path is set"),
        ("stages", [1, 2, 3], "does not fit"),
    ],
)
def test_a_hostile_or_wrong_value_is_one_line(tmp_path, key, value, part):
    path = changed(tmp_path, "model", "image_encoder", "trunk", key, value=value)
    with pytest.raises(CheckpointError) as caught:
        build_sam2(sam2_config(path))
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["memory_attention", "memory_encoder", "image_encoder"])
@pytest.mark.parametrize("other", [None, "memory_encoder", "memory_attention"])
def test_a_part_of_another_kind_is_named(tmp_path, part, other):
    model = yaml.safe_load(files.SAM2_YAML.read_text())["model"]
    path = changed(tmp_path, "model", part, value=model[other] if other else None)
    if part == other:
        assert build_sam2(sam2_config(path)).hidden_dim == 64
        return
    with pytest.raises(CheckpointError, match="SAM 2 configuration: "):
        build_sam2(sam2_config(path))


@pytest.mark.parametrize("size", [0, -32, 33, 128.0, True])
def test_an_image_size_no_grid_fits_is_refused(tmp_path, size):
    with pytest.raises(CheckpointError, match=r"expected 16, 1 and a multiple of 32"):
        build_sam2(sam2_config(changed(tmp_path, "model", "image_size", value=size)))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "model: 1", "model: !!python/object/apply:os.system ['touch ran']", "a: &a [1]\nmodel: *a", "\x00"],
)
def test_what_is_no_configuration_is_refused(tmp_path, text, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sam2.yaml").write_text(text)
    with pytest.raises(CheckpointError, match=r"sam2\.yaml: "):
        sam2_config("sam2.yaml")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("key", ["use_high_res_features_in_sam", "pred_obj_scores", "directly_add_no_mem_embed"])
def test_settings_that_would_change_glus_are_refused(tmp_path, key):
    with pytest.raises(CheckpointError, match=rf"{key}: got False, expected true"):
        sam2_config(changed(tmp_path, "model", key, value=False))


def test_a_name_that_is_nothing_lists_the_names():
    with pytest.raises(CheckpointError, match="sam2_hiera_l, "):
        sam2_config("sam2_hiera_xl")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("image_size: 128", "image_size: 65536", "image_size: got 65536, expected at most 4096"),
        ("embed_dim: 16", "embed_dim: 60000", "embed_dim: got 60000, expected at most 512"),
    ],
)
def test_a_number_that_would_fill_the_memory_is_named(tmp_path, old, new, words):
    text = files.SAM2_YAML.read_text()
    assert old in text
    (tmp_path / "sam2.yaml").write_text(text.replace(old, new))
    with pytest.raises(CheckpointError, match=words):
        sam2_config(str(tmp_path / "sam2.yaml"))
