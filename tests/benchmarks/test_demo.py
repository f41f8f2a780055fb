import json
import re
import subprocess
import sys

import numpy as np
import pytest

from glus_edge.benchmarks.datasets.shipped_clip import ShippedClip
from glus_edge.runtime.bundle.shipped import shipped_clip
from glus_edge.runtime.cli import main
from glus_edge.runtime.errors import InputError

RUN = """
import sys
from glus_edge.runtime.cli import main
code = main(["demo", "--output", sys.argv[1]])
heavy = [name for name in ("torch", "transformers", "sam2", "onnx") if name in sys.modules]
print("loaded:", *heavy)
sys.exit(code)
"""


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    output = tmp_path_factory.mktemp("demo") / "out"
    done = subprocess.run([sys.executable, "-c", RUN, str(output)], capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr
    return output, done.stdout


def test_it_segments_the_shipped_clip_for_sentences_of_every_kind(demo):
    output, _ = demo
    clip = ShippedClip()
    assert {sentence.kind for sentence in clip.sentences} >= {"appearance", "relation", "motion"}
    record = json.loads((output / "result.json").read_text())
    assert record["sentences"] == [sentence.text for sentence in clip.sentences]
    assert record["policy"] == "exact"
    assert record["status"] == "complete"
    assert (output / "overlay.mp4").stat().st_size > 0


def test_it_says_how_well_and_how_fast(demo):
    output, printed = demo
    rows = re.findall(r"(?:appearance|relation|motion) +([\d.]+) +([\d.]+) +([\d.]+)$", printed, re.MULTILINE)
    assert len(rows) == len(ShippedClip().sentences)
    for mean, region, boundary in (tuple(map(float, row)) for row in rows):
        assert mean == pytest.approx((region + boundary) / 2, abs=0.11)
    assert re.search(r"[\d.]+ FPS", printed)
    assert re.search(r"milliseconds a frame: .*language_model [\d.]+", printed)
    assert str(output / "overlay.mp4") in printed


def test_it_needs_no_library_of_the_export(demo):
    assert demo[1].endswith("loaded:\n")


def test_earlier_results_are_not_overwritten_unasked(demo, capsys):
    assert main(["demo", "--output", str(demo[0])]) == 2
    assert "exists already; choose another folder or pass --overwrite" in capsys.readouterr().err


def test_the_clips_truth_fits_its_frames():
    clip = ShippedClip()
    video = clip.open()
    masks = np.stack([clip.truth(index) for index in range(video.frame_count)])
    assert masks.shape == (video.frame_count, len(clip.sentences), *video.size)
    assert masks.any((2, 3)).all()


MASK = '{"size": [2, 2], "counts": [4]}'
ENTRY = '{"text": "a", "kind": "motion", "masks": [%s]}'


@pytest.mark.parametrize(
    "content",
    [
        *("", "{}", '{"sentences": []}', "[" * 100_000),
        f'{{"sentences": [{ENTRY % 1}]}}',
        f'{{"sentences": [{ENTRY % MASK}, {ENTRY % f"{MASK}, {MASK}"}]}}',
    ],
)
def test_a_damaged_truth_is_said(tmp_path, content):
    (tmp_path / "truth.json").write_text(content)
    with pytest.raises(InputError, match="expected sentences with a mask a frame"):
        ShippedClip(tmp_path)
    assert (shipped_clip() / "truth.json").is_file()


def test_a_truth_of_another_clip_is_said(tmp_path):
    (tmp_path / "clip.mp4").write_bytes((shipped_clip() / "clip.mp4").read_bytes())
    (tmp_path / "truth.json").write_text(f'{{"sentences": [{ENTRY % MASK}]}}')
    with pytest.raises(InputError, match=r"got masks of \(1, 2, 2\), expected 24 frames of \(320, 320\)"):
        ShippedClip(tmp_path).open()
