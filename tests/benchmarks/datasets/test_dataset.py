"""Sets of videos: MeViS's folders, whole and hostile, and the generated one."""

import json

import numpy as np
import pytest

from glus_edge.benchmarks.datasets.open_dataset import open_dataset
from glus_edge.benchmarks.instruments.memory_video import LoopedVideo, MemoryVideo
from glus_edge.runtime.errors import InputError
from tests.benchmarks.mevis_folder import write_mevis
from tests.runtime import golden


@pytest.fixture
def folder(tmp_path):
    return write_mevis(tmp_path / "set")


def read_all(folder):
    """What an evaluation reads."""
    dataset = open_dataset(str(folder))
    for number in range(len(dataset)):
        video = dataset[number]
        frames = video.open()
        for frame in range(frames.frame_count):
            video.truth(frame)


def test_a_mevis_folder_gives_its_sentences_and_the_union_of_their_annotations(folder):
    (video,) = list(open_dataset(str(folder)))
    assert [sentence.kind for sentence in video.sentences] == ["appearance", "motion", "", "none"]
    assert video.sentences[0].text == golden.sentence("exp0")
    assert video.open().frame_count == 14
    first, second = golden.expected_masks("exp0"), golden.expected_masks("exp1")
    for frame in range(14):
        wanted = [first[frame], second[frame], first[frame] | second[frame], np.zeros_like(first[frame])]
        assert np.array_equal(video.truth(frame), wanted)


def edit(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def clip(document):
    return document["videos"]["clip"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("videos"), "videos: got 'None'"),
        (lambda d: d["videos"].clear(), "got no videos"),
        (lambda d: d["videos"].update(clip=[1]), r"videos.clip: got '\[1\]'"),
        (lambda d: clip(d).pop("frames"), "expected the names of its frames"),
        (lambda d: clip(d)["frames"].append("9"), "got 14 frames 00000 to 00013, expected the 15 .*; 9 is missing"),
        (lambda d: clip(d)["expressions"].clear(), "expressions: got none"),
        (lambda d: clip(d)["expressions"]["0"].pop("exp"), "expected a sentence"),
        (lambda d: clip(d)["expressions"]["0"].update(anno_id=7), "expected a list of annotation numbers"),
        (
            lambda d: clip(d)["expressions"]["0"].update(anno_id=[77]),
            "got 77, expected an annotation of mask_dict.json",
        ),
        (lambda d: d["videos"].update({"../../etc": clip(d)}), "expected the plain name of a folder"),
        (lambda d: d["videos"].update({"half a \ud800": clip(d)}), "expected the plain name of a folder"),
    ],
)
def test_expressions_that_do_not_fit_are_named(folder, change, message):
    edit(folder / "meta_expressions.json", change)
    with pytest.raises(InputError, match=message) as caught:
        read_all(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update({"0": None}), "0: got NoneType, expected 14"),
        (lambda d: d["0"].pop(), "0: got 13 masks, expected 14"),
        (lambda d: d["0"][3]["counts"].append(1), r"0\[3\]: got runs of 15361 pixels, expected 96 x 160"),
        (lambda d: d["0"][3].update(size=[160, 96]), r"0\[3\]: got a mask of \(160, 96\), expected \(96, 160\)"),
        (lambda d: d["0"].__setitem__(2, "x"), r"0\[2\]: got 'x', expected a mask"),
    ],
)
def test_masks_that_do_not_fit_are_named(folder, change, message):
    edit(folder / "mask_dict.json", change)
    with pytest.raises(InputError, match=message):
        read_all(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_a_file_that_is_no_json_object_is_named(folder, content):
    (folder / "mask_dict.json").write_bytes(content)
    with pytest.raises(InputError, match="mask_dict.json: got"):
        read_all(folder)


def test_a_missing_folder_or_file_is_named(folder, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        open_dataset(str(tmp_path / "nowhere"))
    (folder / "meta_expressions.json").unlink()
    with pytest.raises(InputError, match=r"meta_expressions.json: cannot be read"):
        open_dataset(str(folder))


def test_the_generated_set_is_the_same_whenever_it_is_drawn():
    dataset = open_dataset("generated")
    assert len(dataset) == 200
    one, again = dataset[7], dataset[7]
    assert one.sentences == again.sentences
    assert np.array_equal(one.open().read(3).rgb, again.open().read(3).rgb)
    assert one.truth(3).shape == (len(one.sentences), *one.open().size)
    assert {sentence.kind for number in range(20) for sentence in dataset[number].sentences} == {
        *("appearance", "relation", "motion", "none")
    }
    for place, sentence in enumerate(one.sentences):
        shown = any(one.truth(frame)[place].any() for frame in range(one.open().frame_count))
        assert shown == (sentence.kind != "none")


def test_a_looped_video_begins_again_and_numbers_its_frames_on():
    pictures = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    video = LoopedVideo(MemoryVideo("three", pictures), 8)
    assert [(frame.index, int(frame.rgb[0, 0, 0])) for frame in video.frames(2)] == [
        *((2, 2), (3, 0), (4, 1), (5, 2), (6, 0), (7, 1))
    ]
    assert int(video.read(7).rgb[0, 0, 0]) == 1
