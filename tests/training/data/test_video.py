import hashlib
import json
from collections import Counter

import numpy as np
import pytest

from glus_edge.training.data.render import render
from glus_edge.training.data.scene import Difficulty
from glus_edge.training.data.scene_sampling import draw_scene
from glus_edge.training.data.video import HELD_OUT, SETS, VALIDATION, generate_set, generate_video


@pytest.mark.parametrize("seed", [0, 1, 2**41 + 5])
def test_a_video_is_determined_by_its_seed(seed: int) -> None:
    one, two = generate_video(seed, size=48), generate_video(seed, size=48)
    np.testing.assert_array_equal(one.frames, two.frames)
    np.testing.assert_array_equal(one.masks(), two.masks())
    assert one.sentences == two.sentences


def test_other_seeds_give_other_videos() -> None:
    assert generate_video(1, size=48).scene != generate_video(2, size=48).scene


def test_a_frame_does_not_depend_on_which_others_are_painted() -> None:
    scene = draw_scene(11, Difficulty())
    whole, owners = render(scene, np.arange(scene.frames), 64, Difficulty())
    some, some_owners = render(scene, np.array([2, 5]), 64, Difficulty())
    np.testing.assert_array_equal(owners[[2, 5]], some_owners)
    assert np.abs(whole[[2, 5]].astype(int) - some.astype(int)).max() <= 1


def test_every_kind_of_sentence_is_there_and_several_objects_are_asked_for() -> None:
    kinds: Counter[str] = Counter()
    several = 0
    for number in range(40):
        video = generate_set(VALIDATION, number)
        kinds.update(video.kinds())
        several += sum(len(s.targets) > 1 for s in video.sentences)
    assert all(kinds[kind] >= 10 for kind in ("appearance", "relation", "motion", "none")), kinds
    assert several >= 10


def test_masks_hold_the_visible_objects_and_nothing_else() -> None:
    video = generate_video(5, size=96)
    for mask, sentence in zip(video.masks(), video.sentences, strict=True):
        np.testing.assert_array_equal(mask, np.isin(video.owners, [t + 1 for t in sentence.targets]))


def test_a_sentence_without_a_target_has_empty_masks() -> None:
    for seed in range(30):
        video = generate_video(seed, size=32)
        for mask, kind in zip(video.masks(), video.kinds(), strict=True):
            assert kind != "none" or not mask.any()


def test_most_targets_are_seen_for_most_of_the_time() -> None:
    seen = []
    for number in range(25):
        video = generate_set(HELD_OUT, number)
        seen += [m.any((1, 2)).mean() for m, k in zip(video.masks(), video.kinds(), strict=True) if k != "none"]
    assert np.mean(np.array(seen) > 0.7) > 0.9


def test_the_fixed_sets_are_disjoint_from_training_and_from_each_other() -> None:
    ranges = [range(s.first_seed, s.first_seed + s.videos * 1000) for s in SETS.values()]
    assert all(r.start >= 2**40 for r in ranges)
    assert not set(ranges[0]) & set(ranges[1])
    assert HELD_OUT.videos == 200


# Of the numbers of frames, sentences, kinds and targets. A change of it makes all figures measured on the set another set's.
HELD_OUT_SHA256 = "1320e88a08d167c3638f7130e6670536587dd1b6d29705dd3472423220c429e7"


def test_the_held_out_set_is_the_one_whose_figures_are_published() -> None:
    digest = hashlib.sha256()
    for number in range(HELD_OUT.videos):
        seed = HELD_OUT.first_seed + 1000 * number
        video = generate_video(seed, size=16, sentences=5, difficulty=HELD_OUT.difficulty, frames=np.array([0]))
        said = [(sentence.text, sentence.kind, sentence.targets) for sentence in video.sentences]
        digest.update(json.dumps([video.scene.frames, said]).encode())
    assert (HELD_OUT.size, HELD_OUT.sentences) == (160, 5)
    assert digest.hexdigest() == HELD_OUT_SHA256
