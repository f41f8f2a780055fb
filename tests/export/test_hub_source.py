"""Checkpoints from a Hub on the loopback: what is fetched, what it is called, and every way in which it fails."""

import errno
import shutil
from hashlib import sha256
from pathlib import Path

import pytest
from huggingface_hub import constants, file_download

from glus_edge.export.hub_source import local_sources, needed_files
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.cli import main
from glus_edge.runtime.errors import HubError
from tests.export.checkpoint_files import GOLDEN, SAM2_YAML
from tests.hub_server import COMMIT, TOKEN, hub_server

pytestmark = pytest.mark.torch

NAME, CLIP = "owner/glus", "openai/clip"
WEIGHTS = "pytorch_model.bin"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    checkpoint = shutil.copytree(GOLDEN / "checkpoint", tmp_path / "checkpoint")
    config = checkpoint / "config.json"
    config.write_text(config.read_text().replace('"mm_vision_tower": "clip"', f'"mm_vision_tower": "{CLIP}"'))
    assert CLIP in config.read_text()
    (checkpoint / "README.md").write_text("not needed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    with hub_server({NAME: checkpoint, CLIP: GOLDEN / "clip"}) as server:
        for module in (constants, file_download):
            for key in ("ENDPOINT", "HUGGINGFACE_CO_URL_TEMPLATE"):
                if hasattr(module, key):
                    value = server.address + ("" if key == "ENDPOINT" else "/{repo_id}/resolve/{revision}/{filename}")
                    monkeypatch.setattr(module, key, value)
        monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", server.address)
        yield server


def refusal(source: str = NAME) -> str:
    with pytest.raises(HubError) as error:
        local_sources(Path(source), None)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_one_form_of_the_weights_is_fetched():
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    bins = ["pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json"]
    others = ["README.md", "flax_model.msgpack", "tf_model.h5", "config.json"]
    index = "model.safetensors.index.json"
    assert needed_files([*shards, index, *bins, *others]) == ["config.json", index, *shards]
    assert needed_files([*bins, *others]) == ["config.json", bins[1], bins[0]]
    assert needed_files([*shards, *others]) == ["config.json", *shards]
    assert needed_files(["model.safetensors", WEIGHTS, *others]) == ["config.json", "model.safetensors"]


def test_export_of_a_name_is_a_bundle_that_tells_its_commit_and_hashes(hub, tmp_path):
    assert main(["export", NAME, "--sam2-config", str(SAM2_YAML), "--output", str(tmp_path / "bundle")]) == 0
    origin = Bundle.open(tmp_path / "bundle").manifest.provenance
    assert (origin["checkpoint"], origin["checkpoint_revision"]) == (NAME, COMMIT)
    assert (origin["vision_tower"], origin["vision_tower_revision"]) == (CLIP, COMMIT)
    digest = sha256((GOLDEN / "checkpoint" / WEIGHTS).read_bytes()).hexdigest()
    assert f"{WEIGHTS} {digest}" in origin["checkpoint_sha256"]
    assert "README.md" not in hub.sent
    assert "generation_config.json" not in hub.sent


def test_offline_the_cache_is_used_and_nothing_is_asked(hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "not in the cache" in refusal()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    online = local_sources(Path(NAME), None)
    sent = dict(hub.sent)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert local_sources(Path(NAME), None) == online
    assert hub.sent == sent


def test_a_folder_wins_over_a_name(hub, tmp_path):
    shutil.copytree(GOLDEN / "checkpoint", tmp_path / NAME)
    assert local_sources(Path(NAME), None) == (Path(NAME), None, {})
    assert not hub.sent


def test_a_download_that_broke_off_goes_on_where_it_stopped(hub, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 16)  # what is kept are whole ones, of 10 MB
    hub.cut = 3_000_000
    assert "goes on where it stopped" in refusal()
    hub.cut = None
    local_sources(Path(NAME), GOLDEN / "clip")
    assert hub.ranges
    assert hub.sent[WEIGHTS] < 1.05 * (GOLDEN / "checkpoint" / WEIGHTS).stat().st_size


def test_damage_is_found(hub):
    folder, _, _ = local_sources(Path(NAME), GOLDEN / "clip")
    blob = (folder / WEIGHTS).resolve()
    content = bytearray(blob.read_bytes())
    content[5000] ^= 1
    blob.write_bytes(content)
    assert f"{WEIGHTS}: got SHA-256" in refusal()


def test_a_small_disk_is_told_before_anything_is_fetched(hub):
    hub.inflate = 1 << 40
    assert "GB free; free some space" in refusal()
    assert not hub.sent


def test_a_disk_that_fills_up_is_told(hub, monkeypatch):
    def full(*_args, **_settings):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(file_download, "http_get", full)
    assert "is full; free some space" in refusal()


def test_unknown_names_revisions_and_tokens_are_told_apart(hub, monkeypatch):
    assert "no such repository" in refusal("owner/nothing")
    assert "has no revision 'v9'" in refusal(f"{NAME}@v9")
    hub.private = True
    assert "or set HF_TOKEN" in refusal()
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "refuses the token" in refusal()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert local_sources(Path(NAME), GOLDEN / "clip")[2]["checkpoint"] == NAME


def test_without_a_network_one_line_says_so(hub, tmp_path, capsys):
    hub.shutdown()
    hub.server_close()
    assert "check the network" in refusal()
    assert main(["export", NAME, "--output", str(tmp_path / "bundle")]) == 2
    assert "check the network" in capsys.readouterr().err


def test_an_output_in_the_way_is_told_before_anything_is_fetched(hub, tmp_path):
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "file").touch()
    assert main(["export", NAME, "--output", str(tmp_path / "bundle")]) == 2
    assert not hub.sent
