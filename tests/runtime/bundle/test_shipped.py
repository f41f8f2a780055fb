import pytest

from glus_edge.runtime.bundle import shipped
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.manifest import files
from glus_edge.runtime.cli import main
from glus_edge.runtime.errors import BundleError, InputError
from glus_edge.runtime.segmenter import Segmenter

LARGEST_BYTES = 12_000_000


def test_the_shipped_bundle_is_whole_and_small():
    bundle = Bundle.open(shipped.shipped_bundle())
    total = sum(entry.size_bytes for entry in files(bundle.manifest))
    assert total <= LARGEST_BYTES
    held = {path.name for path in bundle.directory.iterdir()}
    assert held == {entry.file for entry in files(bundle.manifest)} | {"manifest.json"}


def test_it_is_opened_where_no_bundle_is_given():
    with Segmenter.open() as segmenter:
        assert segmenter.bundle.directory == shipped.shipped_bundle()


def test_a_command_without_a_bundle_means_the_shipped_one(capsys):
    assert main(["inspect"]) == 0
    assert str(shipped.shipped_bundle()) in capsys.readouterr().out


def test_an_installation_without_them_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    with pytest.raises(BundleError, match="got no bundle, expected the small GLUS"):
        Segmenter.open()
    with pytest.raises(InputError, match=r"clip\.mp4: got no file"):
        shipped.shipped_clip()
    assert main(["segment", "clip.mp4", "a dog", "--output", str(tmp_path / "out")]) == 2
    assert "reinstall glus-edge, or give a bundle" in capsys.readouterr().err
