"""Sentences that come and go while frames are pushed."""

import itertools

import numpy as np
import pytest

from glus_edge.runtime import InputError, Segmenter, open_video
from glus_edge.runtime.errors import EngineError
from glus_edge.runtime.language.image_tokens import ImageTokens
from glus_edge.runtime.loop.propagation import Propagation
from glus_edge.runtime.loop.sentence_batch import SentenceBatch
from glus_edge.runtime.loop.shared_state import SharedState
from glus_edge.runtime.policies.loop_rules import LoopChoice
from glus_edge.runtime.policies.window import window_policy
from glus_edge.runtime.video.frame import Frame
from tests.runtime import golden

pytestmark = pytest.mark.torch  # the bundle is exported first

LONG = "the one that moves slowly past all the others"


@pytest.fixture(scope="module")
def segmenter(golden_bundle):
    with Segmenter.open(golden_bundle) as opened:
        yield opened


@pytest.fixture(scope="module")
def pictures():
    frames = [frame.rgb for frame in open_video(golden.FRAMES).frames()]
    return list(itertools.islice(itertools.cycle(frames), 24))


def masks(session, pictures):
    return [session.push(picture).masks for picture in pictures]


@pytest.mark.parametrize("policy", ["exact", "window", "rolling"])
@pytest.mark.parametrize("refresh", ["always", "every:5", "adaptive"])
def test_a_long_stream_is_segmented_though_its_context_changes(segmenter, pictures, policy, refresh):
    session = segmenter.stream(["a thing"], policy=policy, refresh=refresh)
    for picture in [*pictures, *pictures[:12]]:
        assert session.push(picture).scores[0].segmented


@pytest.mark.parametrize("policy", ["exact", "window", "rolling"])
@pytest.mark.parametrize("refresh", ["always", "every:3", "verify:1,1"])
def test_where_there_is_no_time_the_question_waits(segmenter, pictures, policy, refresh):
    """Every fourth frame has time; on those even `every:3` has come due."""
    session = segmenter.stream(["a thing"], policy=policy, refresh=refresh)
    results = [session.push(picture, may_ask=index % 4 == 0) for index, picture in enumerate(pictures[:12])]
    assert [result.asked for result in results] == [index % 4 == 0 for index in range(12)]
    assert all(result.scores[0].segmented for result in results)


def test_a_sentence_without_an_embedding_is_asked_about_at_once(segmenter, pictures):
    session = segmenter.stream(["a thing"], refresh="once")
    assert session.push(pictures[0], may_ask=False).asked
    session.add("another")
    assert session.push(pictures[1], may_ask=False).scores[1].segmented


def test_frames_that_are_not_asked_about_are_as_with_a_rule_that_does_not(segmenter, pictures):
    ruled = masks(segmenter.stream(["a thing"], policy="window", refresh="every:4"), pictures[:8])
    session = segmenter.stream(["a thing"], policy="window", refresh="every:1")
    timed = [session.push(picture, may_ask=index % 4 == 0).masks for index, picture in enumerate(pictures[:8])]
    assert all(np.array_equal(wanted, got) for wanted, got in zip(ruled, timed, strict=True))


@pytest.mark.parametrize(("policy", "refresh"), [("window", "always"), ("rolling", "every:3"), ("exact", "always")])
def test_an_added_sentence_leaves_the_others_as_they_are(segmenter, pictures, policy, refresh):
    alone = masks(segmenter.stream(["a thing", LONG], policy=policy, refresh=refresh), pictures)
    session = segmenter.stream(["a thing", LONG], policy=policy, refresh=refresh)
    joined = masks(session, pictures[:10])
    assert session.add("the blue square", "another") == range(2, 4)
    assert session.sentences == ("a thing", LONG, "the blue square", "another")
    joined += masks(session, pictures[10:])
    assert [len(each) for each in joined] == [2] * 10 + [4] * 14
    assert all(np.array_equal(wanted, got[:2]) for wanted, got in zip(alone, joined, strict=True))


@pytest.mark.parametrize(("policy", "refresh"), [("window", "always"), ("rolling", "every:3"), ("exact", "adaptive")])
def test_an_added_sentence_is_a_run_that_begins_there(segmenter, pictures, policy, refresh):
    """Context is chosen at frames 7 and 15, so frames 9 to 14 have one context throughout."""
    session = segmenter.stream(["a thing"], policy=policy, refresh=refresh)
    masks(session, pictures[:9])
    session.add(LONG)
    added = [each[1] for each in masks(session, pictures[9:15])]

    shared = SharedState(segmenter.bundle, segmenter._engines)
    context = session._shared.context
    shared.tokens.pin(frozenset(context))
    for index in context:
        shared.tokens.add(Frame(index, 0.0, pictures[index]))
    shared.read_context(context)
    window = window_policy(policy, segmenter.bundle.manifest.window)
    propagation = Propagation(SentenceBatch(shared, (LONG,), window), LoopChoice(policy, refresh).rules())
    fresh = [propagation.step(Frame(index, 0.0, pictures[index])).masks[0] for index in range(9, 15)]
    assert session._shared.context == context
    assert all(np.array_equal(wanted, got) for wanted, got in zip(fresh, added, strict=True))


@pytest.mark.parametrize(("policy", "refresh"), [("window", "always"), ("rolling", "always"), ("exact", "every:4")])
@pytest.mark.parametrize("removed", [0, 1, 2])
def test_a_removed_sentence_leaves_the_others_as_they_are(segmenter, pictures, policy, refresh, removed):
    sentences = ["a thing", LONG, "the blue square"]
    whole = masks(segmenter.stream(sentences, policy=policy, refresh=refresh), pictures)
    session = segmenter.stream(sentences, policy=policy, refresh=refresh)
    masks(session, pictures[:11])
    session.remove(removed)
    rest = [number for number in range(3) if number != removed]
    assert session.sentences == tuple(sentences[number] for number in rest)
    for wanted, got in zip(whole[11:], masks(session, pictures[11:]), strict=True):
        for number, mask in zip(rest, got, strict=True):
            assert golden.iou(mask, wanted[number]) >= 0.999


def test_a_stream_goes_on_without_any_sentence_and_takes_new_ones(segmenter, pictures):
    session = segmenter.stream(["a thing"], refresh="adaptive", memory="confident+anchors", lost="suspend")
    session.add("another")
    masks(session, pictures[:3])
    session.remove(1)
    session.remove(0)
    result = session.push(pictures[3])
    assert result.masks.shape == (0, *pictures[3].shape[:2])
    assert (result.scores, result.asked, session.sentences) == ((), False, ())
    assert session.add("the blue square") == range(1)
    assert len(session.push(pictures[4]).masks) == 1


def test_numbers_and_sentences_that_are_none_are_refused(segmenter):
    session = segmenter.stream(["a thing"])
    for number in (1, -1):
        with pytest.raises(InputError, match=f"remove: got {number}, expected 0 to 0"):
            session.remove(number)
    with pytest.raises(InputError, match="add: got no sentence"):
        session.add()
    with pytest.raises(InputError, match="sentence: got ' '"):
        session.add(" ")
    assert session.sentences == ("a thing",)


def test_a_frame_that_an_engine_refuses_was_never_there(segmenter, pictures, monkeypatch):
    wanted = masks(segmenter.stream(["a thing"], policy="window"), pictures)
    session = segmenter.stream(["a thing"], policy="window")
    found = masks(session, pictures[:3])

    def refuse(*arguments):
        raise EngineError("clip_preprocess: got 4000 height, expected 16 to 1920")

    with monkeypatch.context() as patched:
        patched.setattr(ImageTokens, "add", refuse)
        with pytest.raises(EngineError, match="4000 height"):
            session.push(pictures[3])
    found += masks(session, pictures[3:])
    assert all(np.array_equal(one, other) for one, other in zip(wanted, found, strict=True))
