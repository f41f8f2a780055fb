from dataclasses import replace

import numpy as np
import pytest

from glus_edge.training.data.scene import DIRECTIONS, Difficulty, Scene, SceneObject
from glus_edge.training.data.scene_sampling import draw_scene
from glus_edge.training.data.sentences import KINDS, all_sentences, choose_sentences, motion_verdict, plural

SCENES = [draw_scene(seed, Difficulty()) for seed in range(80)]


def thing(**changes: object) -> SceneObject:
    base = SceneObject("circle", "red", "plain", "small", 0.08, 0.0, "still", "", "", 0.4, 0.5, (0.5, 0.5))
    return replace(base, **changes)  # type: ignore[arg-type]


def texts(scene: Scene, kind: str) -> dict[str, tuple[int, ...]]:
    return {s.text: s.targets for s in all_sentences(scene)[kind]}


def test_an_appearance_sentence_names_exactly_what_fits() -> None:
    scene = Scene((thing(), thing(colour="blue", size="large")), 12, (0.0, 0.0), 1)
    found = texts(scene, "appearance")
    assert found["the red circle"] == (0,)
    assert found["the large circle"] == (1,)
    assert "the circle" not in found


def test_a_relation_must_hold_in_every_frame() -> None:
    left, right = thing(anchor=(0.2, 0.5)), thing(anchor=(0.8, 0.5))
    assert texts(Scene((left, right), 12, (0.0, 0.0), 1), "relation")["the leftmost red circle"] == (0,)
    crossing = replace(left, motion="right", heading="right", travel=0.9, anchor=(0.6, 0.3))
    assert "the leftmost red circle" not in texts(Scene((crossing, right), 12, (0.0, 0.0), 1), "relation")


def test_the_larger_of_two_is_asked_for_only_if_it_clearly_is() -> None:
    big = thing(radius=0.16, size="large")
    assert texts(Scene((thing(), big), 12, (0, 0), 1), "relation")["the larger of the two red circles"] == (1,)
    near = thing(radius=0.084)
    assert "the larger of the two red circles" not in texts(Scene((thing(), near), 12, (0, 0), 1), "relation")


def test_motion_tells_apart_objects_that_fit_the_same_words() -> None:
    mover = thing(motion="left", heading="left")
    found = texts(Scene((thing(), mover), 12, (0.0, 0.0), 1), "motion")
    assert found["the red circle that moves left"] == (1,)
    assert found["the red circle that stays still"] == (0,)


@pytest.mark.parametrize("scene", SCENES)
def test_motion_sentences_always_leave_a_candidate_that_looks_right_and_is_not_meant(scene: Scene) -> None:
    for sentence in all_sentences(scene)["motion"]:
        assert set(sentence.targets) < set(sentence.candidates)
        assert sentence.targets


def test_motion_cannot_be_told_from_one_frame_because_time_can_run_backwards() -> None:
    # The same frames in reverse order are the video of the opposite motion: no single frame holds the answer.
    times = np.linspace(0.0, 1.0, 13, dtype=np.float32)
    for one, other in (("left", "right"), ("up", "down")):
        forwards = thing(motion=one, heading=one).positions(times)
        backwards = thing(motion=other, heading=other).positions(times)[::-1]
        np.testing.assert_allclose(forwards, backwards, atol=1e-6)
    np.testing.assert_allclose(
        thing(motion="grow").scales(times), thing(motion="shrink").scales(times)[::-1], atol=1e-6
    )


def test_where_an_object_is_says_nothing_about_which_way_it_goes() -> None:
    where = {heading: [] for heading in DIRECTIONS}  # type: dict[str, list[float]]
    for seed in range(1500):
        scene = draw_scene(seed, Difficulty())
        for each in scene.things:
            if each.motion in DIRECTIONS:
                axis = 0 if DIRECTIONS[each.motion][0] else 1
                where[each.motion].append(float(each.positions(scene.times()).mean(0)[axis]))
    for values in where.values():
        assert abs(np.mean(values) - 0.5) < 0.03


def test_an_ambiguous_motion_is_not_judged() -> None:
    assert motion_verdict(thing(motion="turn", heading="right"), "left") is None
    assert motion_verdict(thing(motion="bend", heading="left", second_heading="up"), "up") is None
    assert motion_verdict(thing(motion="grow"), "still") is None
    assert motion_verdict(thing(motion="stop", heading="up"), "left") is False


def test_a_sentence_without_target_fits_nothing() -> None:
    for scene in SCENES:
        named = {s.text for kind in KINDS if kind != "none" for s in all_sentences(scene)[kind]}
        assert not named & {s.text for s in all_sentences(scene)["none"]}


def test_kinds_are_drawn_by_their_shares() -> None:
    chosen = choose_sentences(SCENES[0], 4, {"appearance": 1.0}, np.random.default_rng(0))
    assert {s.kind for s in chosen} == {"appearance"}


def test_plurals() -> None:
    assert [plural(n) for n in ("red circle", "cross")] == ["red circles", "crosses"]
