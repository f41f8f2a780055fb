"""The videos a calibration is measured on."""

from pathlib import Path

import pytest

from glus_edge.calibration.videos.calibration_video import open_calibration_videos
from glus_edge.runtime.errors import InputError
from tests.runtime.golden import sentence

pytestmark = pytest.mark.torch


def test_videos_that_cannot_be_read_are_passed_over_unless_all_are(videos: Path, tmp_path: Path) -> None:
    (video,) = open_calibration_videos(str(videos), 8)
    assert video.name == "balls"
    assert video.sentences == (sentence("exp0"), sentence("exp1"))
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    (tmp_path / "broken.txt").write_text("a dog")
    with pytest.raises(InputError, match=r"has no video that can be read \(1 entries, the first: .*broken\.mp4"):
        open_calibration_videos(str(tmp_path), 8)
    (tmp_path / "broken.txt").unlink()
    with pytest.raises(InputError, match=r"broken\.txt: cannot be read"):
        open_calibration_videos(str(tmp_path), 8)
    with pytest.raises(InputError, match="no such folder"):
        open_calibration_videos(str(tmp_path / "nowhere"), 8)


def test_generated_videos_know_the_truth() -> None:
    first, second = open_calibration_videos("generated", 2)
    assert first.name != second.name
    assert first.truth is not None
    assert first.truth(0).shape[0] == len(first.sentences)
