"""The loop with its rules: when the language model runs, and what the masks are made of when it does not."""

from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from glus_edge.runtime import Segmenter, open_video
from glus_edge.runtime.errors import InputError
from glus_edge.runtime.language.language_model import LanguageModel
from glus_edge.runtime.policies.mask_signals import MaskSignalReader
from glus_edge.runtime.policies.refresh import refresh_rule
from glus_edge.runtime.policies.refresh_rule import RefreshRule
from glus_edge.runtime.policies.scene_change import SceneColors
from tests.runtime import golden

pytestmark = pytest.mark.torch  # the bundle is exported first


@pytest.fixture(scope="module")
def segmenter(golden_bundle):
    with Segmenter.open(golden_bundle) as opened:
        yield opened


@pytest.mark.parametrize("policy", ["exact", "window", "rolling"])
@pytest.mark.parametrize(("refresh", "asked"), [("once", [0]), ("every:4", [0, 4, 8, 12]), ("always", range(14))])
def test_the_language_model_runs_on_the_frames_the_rule_names_and_on_no_others(
    segmenter, monkeypatch, policy, refresh, asked
):
    outputs = golden.record(monkeypatch)
    results = list(segmenter.segment(golden.FRAMES, ["a thing"], policy=policy, refresh=refresh))
    assert [result.index for result in results if result.asked] == list(asked)
    assert len(outputs["segment_embedding"]) == len(asked)
    assert len(outputs["features_stride_16"]) == len(results)


def test_between_questions_the_last_embedding_prompts_the_decoder(segmenter, monkeypatch):
    """Decoding the frames anew with the embeddings of frames 0 and 5 gives the same masks."""
    outputs = golden.record(monkeypatch)
    results = list(segmenter.segment(golden.FRAMES, ["a thing"], refresh="every:5"))
    first, second, third = outputs["segment_embedding"]
    assert not np.allclose(first, second)
    assert all(result.scores[0].segmented for result in results)
    exact = list(segmenter.segment(golden.FRAMES, ["a thing"]))
    assert np.array_equal(results[0].masks, exact[0].masks)
    # with `exact` the window holds the video's last four frames, so a later question is the reference's own
    expected = outputs["segment_embedding"][3:]
    assert golden.relative_l2(second, expected[5]) < 1e-5
    assert golden.relative_l2(third, expected[10]) < 1e-5


def test_a_mask_that_is_not_trusted_is_decoded_again_with_a_new_embedding(segmenter, monkeypatch):
    outputs = golden.record(monkeypatch)
    results = list(segmenter.segment(golden.FRAMES, ["a thing"], refresh="verify:1,1"))
    assert all(result.asked for result in results)
    assert len(outputs["mask_logits"]) == 2 * len(results) - 1  # every frame but the first twice
    exact = list(segmenter.segment(golden.FRAMES, ["a thing"]))
    for ours, wanted in zip(results, exact, strict=True):
        assert golden.iou(ours.masks[0], wanted.masks[0]) >= 0.999


def test_a_run_both_ways_keeps_the_key_frames_embedding_for_the_way_back(segmenter, monkeypatch):
    outputs = golden.record(monkeypatch)
    results = list(segmenter.segment(golden.FRAMES, ["a thing"], refresh="once", key_frame=6))
    assert len(outputs["segment_embedding"]) == 1
    assert all(result.scores[0].segmented for result in results)


@pytest.mark.parametrize("sentences", [["a thing"], ["a thing", "the blue square"]])
def test_an_automatic_key_frame_is_the_context_frame_the_decoder_is_surest_of(segmenter, sentences):
    automatic = segmenter.segment(golden.FRAMES, sentences, key_frame="auto")
    confidence = {}
    for index in automatic.context_frames:
        first = next(iter(segmenter.segment(golden.FRAMES, sentences, key_frame=index)))
        confidence[index] = np.mean([scores.predicted_iou for scores in first.scores])
    assert automatic.key_frame == max(confidence, key=confidence.get)
    given = list(segmenter.segment(golden.FRAMES, sentences, key_frame=automatic.key_frame))
    for ours, wanted in zip(automatic, given, strict=True):
        assert ours.index == wanted.index
        assert np.array_equal(ours.masks, wanted.masks)


def test_a_bundle_that_has_nothing_to_choose_a_key_frame_by_says_so_at_once(segmenter, monkeypatch):
    manifest = segmenter.bundle.manifest
    alone = replace(manifest, window=replace(manifest.window, context_frames=0))
    monkeypatch.setattr(segmenter.bundle, "manifest", alone)
    with pytest.raises(InputError, match=r"got 'auto', .* neither \[SCORE\] nor context frames"):
        segmenter.segment(golden.FRAMES, ["a thing"], key_frame="auto")


@pytest.mark.parametrize("refresh", ["always", "adaptive"])
def test_a_live_stream_gives_a_result_for_every_frame_as_it_comes(segmenter, refresh):
    session = segmenter.stream(["a thing", "another"], refresh=refresh)
    for number, frame in enumerate(open_video(golden.FRAMES).frames()):
        result = session.push(frame.rgb)
        assert result.index == number
        assert result.masks.shape == (2, *frame.size)


def test_a_live_streams_first_frame_is_a_one_frame_video(segmenter, tmp_path):
    frame = open_video(golden.FRAMES).read(0)
    alone = tmp_path / "one"
    alone.mkdir()
    (alone / "0.png").write_bytes((golden.FRAMES / "00000.png").read_bytes())
    (result,) = segmenter.segment(alone, ["a thing"])
    assert np.array_equal(segmenter.stream(["a thing"]).push(frame.rgb).masks, result.masks)


@pytest.mark.parametrize(
    "bad", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), "frame", np.zeros((0, 4, 3), "u1")]
)
def test_what_is_no_frame_is_refused(segmenter, bad):
    from glus_edge.runtime import InputError

    with pytest.raises(InputError, match="expected uint8"):
        segmenter.stream(["a thing"]).push(bad)


def test_a_look_without_memory_is_taken_at_its_period_and_is_the_first_frames_way(segmenter, monkeypatch):
    """With `once` as the model for frames that are not doubted: no mask is asked about again at an agreement of 0."""
    outputs = golden.record(monkeypatch)
    results = list(segmenter.segment(golden.FRAMES, ["a thing"], refresh="memoryless:0,4"))
    assert [result.asked for result in results] == [True] + [False] * 13
    assert len(outputs["mask_logits"]) == 14 + 3  # at ages 4, 8 and 12
    once = list(segmenter.segment(golden.FRAMES, ["a thing"], refresh="once"))
    for ours, wanted in zip(results, once, strict=True):
        assert np.array_equal(ours.masks, wanted.masks)


def test_masks_that_share_nothing_with_those_without_memory_are_asked_about_again(segmenter, monkeypatch):
    from glus_edge.runtime.tracking.mask_tracker import MaskTracker

    monkeypatch.setattr(MaskTracker, "decode_without_memory", lambda tracker, _: np.full((1, 1, 32, 32), -1.0, "f4"))
    results = list(segmenter.segment(golden.FRAMES, ["a thing"], refresh="memoryless:0.1,4"))
    assert [result.index for result in results if result.asked] == [0, 4, 8, 12]


@pytest.mark.parametrize("memory", ["confident", "anchors", "distractors", "present", "confident+anchors+present"])
def test_every_memory_rule_segments_every_frame_of_sentences_that_differ(segmenter, memory):
    sentences = ["a thing", "the blue square", "another"]
    alone = [list(segmenter.segment(golden.FRAMES, [each], refresh="every:4", memory=memory)) for each in sentences]
    for number, result in enumerate(segmenter.segment(golden.FRAMES, sentences, refresh="every:4", memory=memory)):
        assert all(scores.segmented for scores in result.scores)
        for i, run in enumerate(alone):
            assert golden.iou(result.masks[i], run[number].masks[0]) >= 0.99


def test_a_rule_for_lost_objects_empties_masks_and_says_so(segmenter):
    plain = list(segmenter.segment(golden.FRAMES, ["a thing", "another"]))
    hidden = list(segmenter.segment(golden.FRAMES, ["a thing", "another"], lost="hide"))
    for before, after in zip(plain, hidden, strict=True):
        for i, scores in enumerate(after.scores):
            assert scores.visible == (before.scores[i].object_score > 0)
            assert np.array_equal(after.masks[i], before.masks[i] if scores.visible else np.zeros_like(before.masks[i]))


@pytest.mark.parametrize("refresh", ["once", "verify", "previous", "scene", "memoryless", "every:30"])
def test_a_sentence_without_an_answer_is_asked_again_whatever_the_rule(segmenter, monkeypatch, refresh):
    ask, answers = LanguageModel.ask, iter([False, False])

    def unsure(step, prompts):
        answer = ask(step, prompts)
        return answer._replace(segmented=np.full_like(answer.segmented, next(answers, True)))

    monkeypatch.setattr(LanguageModel, "ask", unsure)
    usual = refresh_rule(refresh)
    trusting = {"iou": 0.0, "overlap": -1.0, "agreement": -1.0, "scene": 1.0}  # it asks for nothing itself
    rule = replace(usual, **{name: value for name, value in trusting.items() if hasattr(usual, name)})
    results = list(segmenter.segment(golden.FRAMES, ["a thing"], refresh=rule))
    assert [result.index for result in results if result.asked] == [0, 2, 6]
    assert [result.index for result in results if result.scores[0].segmented] == list(range(6, 14))


@dataclass(frozen=True)
class Third(RefreshRule):
    """As a user would write it: a name that is a field, one method, no word of what it needs."""

    name: str = "third"
    seen: list = field(default_factory=list)

    def ask_before(self, age, previous, scene_change):
        self.seen.append((len(previous), scene_change))
        return age >= 3


def test_a_rule_of_ones_own_decides_and_is_shown_signals_and_changes_of_scene(segmenter):
    rule = Third()
    results = list(segmenter.segment(golden.FRAMES, ["a thing"], refresh=rule))
    assert [result.index for result in results if result.asked] == [0, 3, 6, 9, 12]
    assert all(count == 1 for count, _ in rule.seen)
    assert any(change > 0 for _, change in rule.seen)


@pytest.mark.parametrize(
    ("rules", "signals", "scenes"),
    [
        ({"refresh": "always"}, 0, 0),
        ({"refresh": "every:5"}, 0, 0),
        ({"refresh": "scene:1"}, 0, 1),
        ({"refresh": "verify:0,0"}, 1, 0),
        ({"refresh": "every:5", "memory": "present"}, 1, 0),
    ],
)
def test_nothing_is_computed_that_no_rule_needs(segmenter, monkeypatch, rules, signals, scenes):
    calls = Counter()
    read, colors = MaskSignalReader.read, SceneColors.read
    monkeypatch.setattr(MaskSignalReader, "read", lambda *given: (calls.update(["signals"]), read(*given))[1])
    monkeypatch.setattr(SceneColors, "read", lambda frame: (calls.update(["scenes"]), colors(frame))[1])
    list(segmenter.segment(golden.FRAMES, ["a thing"], **rules))
    assert (bool(calls["signals"]), bool(calls["scenes"])) == (bool(signals), bool(scenes))
