import os
import pickle

import pytest
import torch
from safetensors.torch import save_file

from glus_edge.export.checkpoint.checkpoint import Checkpoint
from glus_edge.export.checkpoint.weight_folder import WeightFolder
from glus_edge.runtime.errors import CheckpointError
from tests.export import checkpoint_files as files

pytestmark = pytest.mark.torch


def refused(path, *parts):
    """Opening fails with one line that holds every part."""
    with pytest.raises(CheckpointError) as caught:
        Checkpoint.open(path)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message


def test_golden_checkpoint_gives_its_settings_and_tensors():
    checkpoint = Checkpoint.open(files.GOLDEN / "checkpoint")
    assert len(checkpoint.names()) == 395
    assert (checkpoint.config.hidden_size, checkpoint.config.layers, checkpoint.config.head_width) == (64, 3, 16)
    assert checkpoint.config.vision_tower == "clip"
    name = "model.layers.2.mlp.down_proj.weight"
    assert (checkpoint.shape(name), checkpoint.dtype(name)) == ((64, 176), torch.float32)
    assert torch.equal(checkpoint.tensor(name), files.golden_weights()[name])


@pytest.mark.parametrize("layout", [files.single_bin, files.sharded_bin, files.safetensors])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_every_layout_and_dtype_gives_the_stored_values(tmp_path, layout, dtype):
    weights = {name: tensor.to(dtype) for name, tensor in files.golden_weights().items()}
    checkpoint = Checkpoint.open(layout(tmp_path / "c", weights))
    assert set(checkpoint.names()) == set(weights)
    for name, tensor in weights.items():
        got = checkpoint.tensor(name)
        assert got.dtype == dtype
        assert torch.equal(got, tensor)


def test_weights_saved_before_zip_archives_are_read(tmp_path):
    weights = files.golden_weights()
    path = files.folder(tmp_path / "c")
    torch.save(weights, path / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    name = "lm_head.weight"
    assert torch.equal(Checkpoint.open(path).tensor(name), weights[name])


def test_a_tensor_stays_valid_after_its_shard_is_closed(tmp_path):
    checkpoint = Checkpoint.open(files.sharded_bin(tmp_path / "c", files.golden_weights()))
    names = checkpoint.names()
    held = {name: checkpoint.tensor(name) for name in names}
    checkpoint.release()
    for name, tensor in files.golden_weights().items():
        assert torch.equal(held[name], tensor)


def test_shards_may_be_links_to_a_shared_store(tmp_path):
    store = tmp_path / "blob"
    path = files.single_bin(tmp_path / "c", files.golden_weights())
    (path / "pytorch_model.bin").rename(store)
    (path / "pytorch_model.bin").symlink_to(store)
    assert len(Checkpoint.open(path).names()) == 395


def test_only_a_bounded_part_of_a_large_shard_is_resident(tmp_path, monkeypatch):
    count, megabytes = 24, 8
    weights = {str(i): torch.full((megabytes * 1024 * 1024 // 2,), i, dtype=torch.bfloat16) for i in range(count)}
    torch.save(weights, tmp_path / "pytorch_model.bin")
    del weights
    monkeypatch.setattr("glus_edge.export.checkpoint.weight_folder.REMAP_BYTES", 2 * megabytes * 1024 * 1024)
    opened = WeightFolder(tmp_path)
    before, peak = resident_bytes(), 0
    for name in opened.names():
        assert opened.tensor(name)[0] == int(name)
        peak = max(peak, resident_bytes())
    assert peak - before < count * megabytes * 1024 * 1024 / 2


def resident_bytes():
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Payload:
    def __reduce__(self):
        return (os.system, ("touch ran",))


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_never_run(tmp_path, monkeypatch, zipped):
    monkeypatch.chdir(tmp_path)
    path = files.folder(tmp_path / "c")
    content = {**files.golden_weights(), "model.norm.weight": Payload()}
    torch.save(content, path / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    refused(path, "pytorch_model.bin", "never unpickled")
    assert not (tmp_path / "ran").exists()


def test_a_plain_pickle_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = files.folder(tmp_path / "c")
    (path / "pytorch_model.bin").write_bytes(pickle.dumps(Payload()))
    refused(path, "pytorch_model.bin")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
@pytest.mark.parametrize("layout", [files.single_bin, files.safetensors])
def test_a_file_cut_off_is_named(tmp_path, layout, share):
    path = layout(tmp_path / "c", files.golden_weights())
    (file,) = [p for p in path.iterdir() if p.suffix in (".bin", ".safetensors")]
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    refused(path, file.name, "copy it again")


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {"a": torch.zeros(1)}}, {3: torch.zeros(1)}])
def test_anything_but_a_mapping_of_names_to_tensors_is_refused(tmp_path, content):
    refused(files.single_bin(tmp_path / "c", content), "pytorch_model.bin", "expected")


def test_a_tensor_saved_without_its_values_is_named(tmp_path):
    weights = files.golden_weights() | {"model.norm.weight": torch.empty(64, device="meta")}
    refused(files.single_bin(tmp_path / "c", weights), "pytorch_model.bin: model.norm.weight", "without values")


def test_a_training_state_saved_whole_is_told_what_to_save(tmp_path):
    state = {"model": files.golden_weights(), "step": 7}
    refused(files.single_bin(tmp_path / "c", state), "'model': got a mapping", "save the weights inside it")


def test_integer_weights_are_refused_where_they_are_read(tmp_path):
    weights = files.golden_weights() | {"model.norm.weight": torch.zeros(64, dtype=torch.int64)}
    checkpoint = Checkpoint.open(files.single_bin(tmp_path / "c", weights))
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight: got torch\.int64, expected float32"):
        checkpoint.tensor("model.norm.weight")


@pytest.mark.parametrize(
    "file", ["../outside.bin", "/etc/passwd", "sub/x.bin", "a\\b.bin", "..", "", 7, None, "a\nb", "é" * 128]
)
def test_an_index_cannot_name_a_file_elsewhere(tmp_path, file):
    path = files.folder(tmp_path / "c")
    files.write_index(path, {"lm_head.weight": file})
    refused(path, "index.json", "expected a plain file name")


def test_missing_shards_are_counted_and_named(tmp_path):
    path = files.sharded_bin(tmp_path / "c", files.golden_weights())
    (path / "pytorch_model-00002-of-00003.bin").unlink()
    refused(path, "1 of 3 files", "pytorch_model-00002-of-00003.bin")


def test_a_shard_without_a_tensor_of_its_index_is_named(tmp_path):
    path = files.sharded_bin(tmp_path / "c", files.golden_weights())
    shard = path / "pytorch_model-00001-of-00003.bin"
    weights = torch.load(shard, weights_only=True)
    gone = next(iter(weights))
    del weights[gone]
    torch.save(weights, shard)
    refused(path, shard.name, gone)


@pytest.mark.parametrize("weight_map", [None, [], {}, "x"])
def test_an_index_without_a_map_is_refused(tmp_path, weight_map):
    path = files.folder(tmp_path / "c")
    files.write_index(path, weight_map)
    refused(path, "weight_map")


def test_a_folder_that_is_no_checkpoint_is_named(tmp_path):
    refused(tmp_path / "nowhere", "is not a folder")
    refused(tmp_path, "config.json")
    refused(files.folder(tmp_path / "c"), "has no weights", "pytorch_model.bin")


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '"a"', "\udcff"])
def test_a_config_that_is_no_json_object_is_named(tmp_path, text):
    path = files.single_bin(tmp_path / "c", files.golden_weights())
    (path / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    refused(path, "config.json")


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"hidden_size": None}, ("hidden_size", "got null")),
        ({"hidden_size": -1}, ("hidden_size", "got -1")),
        ({"hidden_size": True}, ("hidden_size", "got true")),
        ({"num_hidden_layers": 10**12}, ("num_hidden_layers", "from 1 to")),
        ({"num_attention_heads": 5}, ("num_attention_heads", "divisor of hidden_size 64")),
        ({"num_key_value_heads": 3}, ("num_key_value_heads", "divisor of num_attention_heads 4")),
        ({"rms_norm_eps": float("nan")}, ("rms_norm_eps", "above 0")),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, ("rope_scaling", "not supported")),
        ({"hidden_act": "gelu"}, ("hidden_act", '"silu"')),
        ({"tie_word_embeddings": True}, ("tie_word_embeddings", "lm_head")),
        ({"mm_vision_select_layer": -1}, ("mm_vision_select_layer", "-2")),
        ({"mm_use_im_start_end": False}, ("mm_use_im_start_end", "true")),
        ({"mm_vision_tower": ["a"]}, ("mm_vision_tower", "a text")),
        (
            {"rope_parameters": {"rope_type": "llama3", "factor": 8.0}},
            ("rope_parameters", "rope_type", "not supported"),
        ),
        ({"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}, ("partial_rotary_factor", "got 0.5")),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}, ("rope_parameters", "all layers")),
        ({"rope_parameters": {"rope_theta": 5e5}, "rope_theta": 1e4}, ("rope_parameters.rope_theta", "one base")),
        ({"rope_parameters": "default"}, ("rope_parameters", "an object")),
        ({"rope_scaling": {"rope_type": "dynamic", "factor": 2}}, ("rope_scaling", "not supported")),
        ({"rope_scaling": {"factor": 4.0}}, ("factor", "got 4.0")),
        ({"partial_rotary_factor": 0.25}, ("partial_rotary_factor", "got 0.25")),
        ({"attention_bias": True}, ("attention_bias", "false")),
        ({"mlp_bias": True}, ("mlp_bias", "false")),
        ({"pretraining_tp": 0}, ("pretraining_tp", "got 0")),
        ({"head_dim": 32}, ("head_dim", "16")),
        ({"sliding_window": 512}, ("sliding_window", "null")),
        ({"use_sliding_window": True}, ("use_sliding_window", "false")),
        ({"layer_types": ["sliding_attention"] * 3}, ("layer_types", "full_attention")),
        ({"quantization_config": {"bits": 4}}, ("quantization_config", "before its quantisation")),
        ({"final_logit_softcapping": 30.0}, ("final_logit_softcapping", "null")),
        ({"layer_norm_eps": 1e-5}, ("layer_norm_eps", "rms_norm_eps")),
        ({"model_type": "mistral"}, ("model_type", "llava")),
        ({"text_config": {"hidden_size": 64}}, ("text_config", "at the top")),
        ({"mm_projector_type": "mlp2x_gelu"}, ("mm_projector_type", "linear")),
        ({"mask_threshold": 0.5}, ("mask_threshold", "0")),
    ],
)
def test_a_setting_that_cannot_be_followed_is_named(tmp_path, changes, parts):
    path = files.single_bin(tmp_path / "c", files.golden_weights(), files.golden_config() | changes)
    refused(path, "config.json", *parts)


def test_grouped_query_attention_and_left_out_settings_have_their_defaults(tmp_path):
    config = files.golden_config() | {"num_key_value_heads": 2}
    del config["out_dim"], config["rope_scaling"]
    opened = Checkpoint.open(files.single_bin(tmp_path / "c", files.golden_weights(), config)).config
    assert (opened.key_value_heads, opened.segment_width, opened.rope_theta) == (2, 256, 10000.0)


@pytest.mark.parametrize(
    ("changes", "theta"),
    [
        ({"rope_theta": 5e5}, 5e5),
        ({"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}, 5e5),
        ({"rope_parameters": {"rope_theta": 5e5, "partial_rotary_factor": 1.0}, "rope_theta": 500000}, 5e5),
        ({"rope_scaling": {"rope_theta": 5e5, "rope_type": "default"}}, 5e5),
        ({"rope_scaling": {"type": "linear", "factor": 1.0}}, 1e4),
        ({"pretraining_tp": 2, "head_dim": 16, "sliding_window": None, "dtype": "bfloat16"}, 1e4),
        ({"sliding_window": 4096, "use_sliding_window": False, "layer_types": ["full_attention"] * 3}, 1e4),
        ({"hidden_act": "swish", "attention_bias": None, "mask_threshold": 0, "model_type": None}, 1e4),
    ],
)
def test_settings_of_either_generation_of_transformers_are_read(tmp_path, changes, theta):
    path = files.single_bin(tmp_path / "c", files.golden_weights(), files.golden_config() | changes)
    assert Checkpoint.open(path).config.rope_theta == theta


@pytest.mark.parametrize("protocol", [0, 1, 4, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_of_another_protocol_is_named(tmp_path, protocol, zipped):
    path = files.folder(tmp_path / "c")
    torch.save(
        {"a": torch.zeros(3)},
        path / "pytorch_model.bin",
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=zipped,
    )
    name = "0 or 1" if protocol < 2 else protocol
    refused(path, f"pytorch_model.bin: was saved with pickle protocol {name}, expected 2", "safetensors")


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 9976634558\n"


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "model.safetensors", "config.json", "pytorch_model.bin.index.json"]
)
def test_a_git_lfs_pointer_in_the_place_of_a_file_is_named(tmp_path, name):
    path = files.folder(tmp_path / "c")
    (path / name).write_text(LFS)
    refused(path, f"{name}: is a Git LFS pointer", "git lfs pull")


def test_a_web_page_in_the_place_of_a_file_is_named(tmp_path):
    path = files.folder(tmp_path / "c")
    (path / "pytorch_model.bin").write_text("<!DOCTYPE html><html>sign in")
    refused(path, "pytorch_model.bin: is a web page", "download it again")


def test_a_pipe_in_the_place_of_a_file_is_named_and_does_not_hang(tmp_path):
    path = files.single_bin(tmp_path / "c", files.golden_weights())
    (path / "pytorch_model.bin").unlink()
    os.mkfifo(path / "pytorch_model.bin")
    refused(path, "has no weights")
    files.write_index(path, {"lm_head.weight": "pytorch_model.bin"})
    refused(path, "pytorch_model.bin")


@pytest.mark.parametrize("suffix", ["bin", "safetensors"])
def test_shards_without_an_index_are_read(tmp_path, suffix):
    weights = files.golden_weights()
    path = files.folder(tmp_path / "c")
    names, stem = list(weights), {"bin": "pytorch_model", "safetensors": "model"}[suffix]
    for number in range(3):
        part = {name: weights[name].contiguous() for name in names[number::3]}
        save = torch.save if suffix == "bin" else save_file
        save(part, path / f"{stem}-{number + 1:05d}-of-00003.{suffix}")
    checkpoint = Checkpoint.open(path)
    assert set(checkpoint.names()) == set(names)
    assert all(torch.equal(checkpoint.tensor(name), weights[name]) for name in names[:9])


def test_of_shards_without_an_index_the_missing_ones_are_named(tmp_path):
    path = files.folder(tmp_path / "c")
    torch.save({"a": torch.zeros(1)}, path / "pytorch_model-00002-of-00003.bin")
    refused(path, "neither an index nor all of the shards", "2 of 3", "pytorch_model-00001-of-00003.bin")


@pytest.mark.parametrize(
    ("name", "advice"),
    [("zero_to_fp32.py", "run zero_to_fp32.py"), ("adapter_model.safetensors", "merge_and_unload"), ("a.gguf", "GGUF")],
)
def test_a_folder_of_other_weights_is_told_how_to_make_these_of_them(tmp_path, name, advice):
    path = files.folder(tmp_path / "c")
    (path / name).touch()
    refused(path, "has no weights", advice)


def test_a_tensor_that_repeats_few_values_is_refused(tmp_path):
    weights = files.golden_weights() | {"model.norm.weight": torch.zeros(1).expand(1 << 34)}
    refused(files.single_bin(tmp_path / "c", weights), "model.norm.weight", "expanded")
