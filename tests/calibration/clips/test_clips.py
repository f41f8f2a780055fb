"""The clips a calibration is measured on."""

from pathlib import Path

import pytest

from glus_edge.calibration.clips.clips import open_clips
from glus_edge.runtime.errors import InputError
from tests.runtime.golden import sentence

pytestmark = pytest.mark.torch


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
