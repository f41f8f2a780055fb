import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from glus_edge.export.checkpoint.checkpoint import Checkpoint
from glus_edge.export.checkpoint.tensor_names import check_tensors, language_shapes
from glus_edge.export.checkpoint.vision_tower import VisionTower
from glus_edge.export.parity.language_reference import LanguageReference
from glus_edge.export.synthetic import weights as synthetic_weights
from glus_edge.export.synthetic.command import main, write_synthetic
from glus_edge.export.synthetic.sizes import SIZES
from glus_edge.export.tokenizer.tokenizer import write_tokenizer
from glus_edge.export.vision.modules import load_modules
from glus_edge.runtime.errors import InputError, OutputError

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic") / "tiny"
    write_synthetic("tiny", folder)
    return folder


def test_it_is_a_whole_checkpoint_of_the_official_format(tiny: Path) -> None:
    checkpoint, tower = Checkpoint.open(tiny / "checkpoint"), VisionTower.open(tiny / "clip")
    modules = load_modules(checkpoint, tower, str(tiny / "sam2.yaml"), reference_gamma=False)
    assert checkpoint.config == SIZES["tiny"].language
    assert modules.dimensions.vocabulary_size == 451
    assert modules.dimensions.image_tokens == 4
    assert any(name.endswith("rotary_emb.inv_freq") for name in checkpoint.names())


def test_activations_are_finite_and_the_segment_token_wins(tiny: Path) -> None:
    checkpoint = Checkpoint.open(tiny / "checkpoint")
    modules = load_modules(checkpoint, VisionTower.open(tiny / "clip"), str(tiny / "sam2.yaml"), reference_gamma=False)
    pixels = torch.randn(5, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        images = modules.clip_encoder(pixels)
    assert 0.1 < images[..., 1:].std() < 10
    embedding = checkpoint.tensor("model.embed_tokens.weight")
    rows = torch.cat([embedding[torch.arange(3, 150)], images.flatten(0, 1)])
    for sequence in (rows, rows.flip(0), rows[:1]):
        outputs = LanguageReference(checkpoint, modules.dimensions).forward(sequence[None])
        assert outputs.next_token.tolist() == [448]
        assert outputs.hidden.isfinite().all()
        assert 0.1 < outputs.segment_embedding.std() < 10


def test_the_tokenizer_has_the_size_asked_for_and_can_be_exported(tiny: Path, tmp_path: Path) -> None:
    prompt = write_tokenizer(tiny / "checkpoint", tmp_path / "tokenizer.json")
    assert prompt.segment_token_id == 448


def test_large_checkpoints_are_written_in_shards_with_an_index(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthetic_weights, "SHARD_BYTES", 500_000)
    write_synthetic("tiny", tmp_path / "sharded")
    folder = tmp_path / "sharded" / "checkpoint"
    index = json.loads((folder / "pytorch_model.bin.index.json").read_text())
    files = sorted(set(index["weight_map"].values()))
    assert len(files) > 3
    assert files[0] == f"pytorch_model-00001-of-{len(files):05d}.bin"
    assert sorted(path.name for path in folder.glob("*.bin")) == files
    whole, sharded = Checkpoint.open(tiny / "checkpoint"), Checkpoint.open(folder)
    assert set(whole.names()) == set(sharded.names())
    for name in whole.names():
        assert torch.equal(whole.tensor(name), sharded.tensor(name)), name


def test_the_seed_alone_makes_the_weights(tiny: Path, tmp_path: Path) -> None:
    write_synthetic("tiny", tmp_path / "same")
    write_synthetic("tiny", tmp_path / "other", seed=1)
    name = "model.layers.1.mlp.up_proj.weight"
    first, same, other = (
        Checkpoint.open(path).tensor(name)
        for path in (tiny / "checkpoint", tmp_path / "same" / "checkpoint", tmp_path / "other" / "checkpoint")
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_the_released_size_has_the_released_shapes() -> None:
    size = SIZES["glus-7b"]
    shapes = language_shapes(size.language)
    assert shapes["model.layers.31.mlp.down_proj.weight"] == (4096, 11008)
    assert shapes["lm_head.weight"] == (32003, 4096)
    assert shapes["model.mm_projector.weight"] == (4096, 1024)
    assert 6.7e9 < sum(map(math.prod, shapes.values())) < 6.8e9
    assert (size.vision.patches, size.sam2) == (256, "sam2_hiera_l")


@pytest.mark.parametrize("name", SIZES)
def test_the_parts_of_every_size_fit_together(name: str) -> None:
    size = SIZES[name]
    tree = size.sam2_tree()
    assert tree["image_encoder"]["neck"]["d_model"] == size.language.segment_width
    assert size.language.vision_width == size.vision.width
    assert size.language.heads % size.language.key_value_heads == 0
    assert size.language.hidden_size % size.language.heads == 0
    assert size.vision.patches % 4 == 0


def test_bfloat16_sizes_are_stored_in_bfloat16(tmp_path: Path) -> None:
    write_synthetic("nano", tmp_path / "nano")
    checkpoint = Checkpoint.open(tmp_path / "nano" / "checkpoint")
    check_tensors(checkpoint, language_shapes(SIZES["nano"].language), ["model.visual_model."])
    assert {checkpoint.dtype(name) for name in checkpoint.names()} == {torch.bfloat16}
    head = checkpoint.tensor("lm_head.weight").float().numpy()
    assert np.flatnonzero(head[2000]).tolist() == [0]


def test_an_unknown_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--size: got 'huge', expected one of tiny"):
        write_synthetic("huge", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_folder_with_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        write_synthetic("tiny", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_file_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"mine\.txt: is not a folder"):
        write_synthetic("tiny", tmp_path / "mine.txt")
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_the_command_says_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--size", "tiny", "--output", str(tmp_path / "new")]) == 0
    assert "glus-edge export" in capsys.readouterr().out
    assert main(["--size", "tiny", "--output", str(tmp_path / "new")]) == 2
    assert capsys.readouterr().err.startswith("error: ")
