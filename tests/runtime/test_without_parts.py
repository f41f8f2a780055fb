"""Bundles of models that were trained without context frames or without a memory bank."""

import json
import shutil

import pytest

from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.errors import BundleError
from glus_edge.runtime.segmenter import Segmenter
from tests.runtime import golden

pytestmark = pytest.mark.torch  # the bundle is exported first
SENTENCES = [golden.sentence("exp0"), golden.sentence("exp1")]


@pytest.fixture
def changed(golden_bundle, tmp_path):
    """A copy of the golden bundle whose manifest says otherwise."""

    def change(**sections):
        folder = tmp_path / "bundle"
        shutil.copytree(golden_bundle, folder, dirs_exist_ok=True)
        manifest = json.loads((folder / "manifest.json").read_text())
        for section, values in sections.items():
            manifest[section] |= values
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return folder

    return change


def test_without_context_frames_none_are_read_or_mentioned(changed):
    with Segmenter.open(changed(window={"context_frames": 0})) as segmenter:
        run = segmenter.segment(golden.FRAMES, SENTENCES)
        assert run.context_frames == ()
        pieces = run._batch.prompts._conversations[0].text(0).pieces
        assert len(pieces) == 2
        text = segmenter.bundle.tokenizer().decode(pieces[0].tolist(), skip_special_tokens=False)
        assert text.removesuffix("<im_start>").strip().endswith("USER:")
        assert sorted(result.index for result in run) == list(range(len(run)))


def test_live_video_needs_no_context_either(changed):
    with Segmenter.open(changed(window={"context_frames": 0})) as segmenter:
        session = segmenter.stream(SENTENCES)
        video = segmenter.segment(golden.FRAMES, SENTENCES).video
        assert [session.push(video.read(index).rgb).index for index in range(3)] == [0, 1, 2]


def test_without_a_memory_bank_nothing_is_remembered(changed, monkeypatch):
    outputs = golden.record(monkeypatch)
    with Segmenter.open(changed(memory={"slots": 0})) as segmenter:
        assert len(list(segmenter.segment(golden.FRAMES, SENTENCES))) == 14
    assert "mask_logits" in outputs
    assert "memory_slot" not in outputs
    assert "conditioned_features" not in outputs


@pytest.mark.parametrize("sections", [{"window": {"query_frames": 0}}, {"memory": {"stride": 0}}])
def test_what_every_model_has_cannot_be_none(changed, sections):
    with pytest.raises(BundleError, match="got 0, expected 1 to"):
        Bundle.open(changed(**sections))
