"""Every official layout: what is read, what is refused with its place, and where a submission's files lie."""

import io
import json
import pickle

import numpy as np
import pytest
from PIL import Image

from glus_edge.benchmarks.datasets.layout import MissingPredictionError
from glus_edge.benchmarks.datasets.open_dataset import BENCHMARKS, open_benchmark
from glus_edge.benchmarks.metrics.metric import MASKS
from glus_edge.benchmarks.metrics.ref_davis17 import OBJECTS
from glus_edge.benchmarks.metrics.revos import COUNTS, FOREGROUND
from glus_edge.runtime.errors import InputError
from glus_edge.runtime.video.frame import FrameSize
from tests.benchmarks import sets
from tests.benchmarks.sets import FRAMES, ONE, SIZE, TWO, WRITERS


@pytest.fixture
def opened(tmp_path):
    def open_one(name):
        return open_benchmark(f"{name}:{WRITERS[name](tmp_path / name)}")

    return open_one


def test_every_set_of_the_registry_is_written_here():
    assert WRITERS.keys() == BENCHMARKS.keys()


@pytest.mark.parametrize("name", WRITERS)
def test_every_set_gives_frames_sentences_and_truth_of_their_size(opened, name):
    _, benchmark, dataset = opened(name)
    (video,) = [dataset[number] for number in range(len(dataset))]
    frames = video.open()
    assert tuple(frames.stems) == FRAMES
    assert all(sentence.text for sentence in video.sentences)
    if benchmark.scored:
        for frame in range(len(FRAMES)):
            assert video.truth(frame).shape == (len(video.sentences), *SIZE)
            assert benchmark.truth(video, frame)


@pytest.mark.parametrize("name", ["mevis", "mevis-v2"])
def test_mevis_means_the_union_of_its_annotations_and_maybe_nothing(opened, name):
    video = opened(name).dataset[0]
    video.open()
    assert [sentence.kind for sentence in video.sentences] == ["", "", "none"]
    assert np.array_equal(video.truth(1), [ONE[1], ONE[1] | TWO[1], np.zeros(SIZE)])


def test_ref_youtube_vos_leaves_out_the_videos_of_the_test_split(opened):
    dataset = opened("ref-youtube-vos").dataset
    assert [dataset[number].name for number in range(len(dataset))] == ["cats"]


def test_ref_youtube_vos_train_has_object_numbers(opened):
    video = opened("ref-youtube-vos-train").dataset[0]
    video.open()
    assert np.array_equal(video.truth(2), [ONE[2], TWO[2]])


def test_revos_counts_annotations_and_reads_one_foreground_code_or_several(opened):
    _, benchmark, dataset = opened("revos")
    video = dataset[0]
    video.open()
    assert [sentence.kind for sentence in video.sentences] == ["referring", "reasoning", "none"]
    first, second = benchmark.truth(video, 0), benchmark.truth(video, 1)
    assert np.array_equal(first[COUNTS][1], 2 * ONE[0])  # the two annotations lie on each other
    assert np.array_equal(first[MASKS][1], ONE[0])
    assert np.array_equal(first[FOREGROUND], ONE[0])
    assert np.array_equal(second[FOREGROUND], ONE[1].astype(int) + TWO[1])


def test_reasonvos_lists_its_expressions_and_names_annotations_by_source_and_object(opened):
    video = opened("reasonvos").dataset[0]
    video.open()
    assert [(sentence.key, sentence.kind) for sentence in video.sentences] == [("0", "sentence"), ("7", "phrase")]
    assert np.array_equal(video.truth(0), [ONE[0], TWO[0]])


def test_long_rvos_has_no_object_where_no_file_is(opened):
    video = opened("long-rvos").dataset[0]
    video.open()
    assert [sentence.kind for sentence in video.sentences] == ["static", "dynamic", "hybrid"]
    assert np.array_equal(video.truth(2), [ONE[2], np.zeros(SIZE), np.zeros(SIZE)])


def test_ref_davis17_gives_object_numbers_with_void(opened):
    _, benchmark, dataset = opened("ref-davis17")
    video = dataset[0]
    video.open()
    assert [sentence.key for sentence in video.sentences] == [str(key) for key in range(8)]
    assert set(np.unique(benchmark.truth(video, 1)[OBJECTS])) == {0, 1, 2, 255}
    assert np.array_equal(video.truth(1)[3], ONE[1])
    assert np.array_equal(video.truth(1)[4], TWO[1])


@pytest.mark.parametrize("pickled", [True, False])
def test_glus_protocol_counts_annotations_over_keys_sorted_as_text(tmp_path, pickled):
    folder = sets.ref_davis17_expressions(tmp_path / "set", pickled)
    video = open_benchmark(f"ref-davis17-expressions:{folder}").dataset[0]
    video.open()
    assert [sentence.key for sentence in video.sentences][:4] == ["0", "1", "10", "11"]
    assert [int(mask.any(axis=1).argmax()) for mask in video.truth(0)] == list(range(12))


class Hostile:
    def __reduce__(self):
        return (print, ("run",))


@pytest.mark.parametrize(
    "content", [pickle.dumps(Hostile()), b"", b"\x80\x04", pickle.dumps([1]), pickle.dumps({"0": np.zeros(3)})]
)
def test_a_pickle_that_holds_more_than_masks_is_not_run(tmp_path, content, capsys):
    folder = sets.ref_davis17_expressions(tmp_path / "set")
    (folder / "valid" / "mask_dict.pkl").write_bytes(content)
    with pytest.raises(InputError, match=r"mask_dict\.pkl: got"):
        open_benchmark(f"ref-davis17-expressions:{folder}")
    assert capsys.readouterr().out == ""


def read_all(address):
    """What an evaluation reads."""
    _, benchmark, dataset = open_benchmark(address)
    for number in range(len(dataset)):
        video = dataset[number]
        video.open()
        for frame in range(len(FRAMES)):
            benchmark.truth(video, frame)


@pytest.mark.parametrize(
    ("name", "file", "change", "message"),
    [
        ("revos", "meta_expressions_valid_.json", lambda v: v["expressions"]["1"].update(type_id=3), "1.type_id: got '3'"),
        ("revos", "meta_expressions_valid_.json", lambda v: v["expressions"]["1"].pop("anno_id"), "1.anno_id: got 'None'"),
        ("revos", "mask_dict_foreground.json", lambda d: d["cats"]["masks_rle"].pop(), "cats.masks_rle: got .* expected 3"),
        ("revos", "mask_dict_foreground.json", lambda d: d["cats"]["masks_rle"][1].append(5), r"masks_rle\[1\]\[2\]: got '5'"),
        ("reasonvos", "meta_expressions.json", lambda v: v.update(expressions={}), r"expressions: got '\{\}', expected a list"),
        ("reasonvos", "meta_expressions.json", lambda v: v.update(source="../.."), "source: got '../..'"),
        ("reasonvos", "meta_expressions.json", lambda v: v["expressions"][1].update(exp_id=0), "got an exp_id twice"),
        ("reasonvos", "meta_expressions.json", lambda v: v["expressions"][1].pop("exp_text"), r"\[1\].exp_text: got"),
        ("long-rvos", "meta_expressions.json", lambda v: v["expressions"]["0"].update(type="odd"), "0.type: got 'odd'"),
        ("long-rvos", "meta_expressions.json", lambda v: v["expressions"]["0"].update(obj_id=[1]), r"0.obj_id: got '\[1\]'"),
        ("long-rvos", "meta_expressions.json", lambda v: v["expressions"].update({"../x": {}}), "got a path"),
        ("long-rvos", "meta_expressions.json", lambda v: v["frames"].append("../x"), "frames: got"),
        ("long-rvos", "meta_expressions.json", lambda v: v["frames"].append(FRAMES[0]), "got a frame twice"),
        ("long-rvos", "meta_expressions.json", lambda v: v["frames"].append("00015"), "00015 is missing"),
        (
            "ref-davis17",
            "meta_expressions/valid/meta_expressions.json",
            lambda v: v["expressions"].pop("7"),
            "got 7 keys, expected 0, 1, ... for 4",
        ),
        (
            "ref-davis17",
            "meta_expressions/valid/meta_expressions.json",
            lambda v: [v["expressions"].pop(str(key)) for key in range(4, 8)],
            "got 2 objects on the first frame, expected 1",
        ),
        (
            "ref-youtube-vos-train",
            "meta_expressions/train/meta_expressions.json",
            lambda d: d["videos"]["cows"]["expressions"]["0"].update(obj_id="255"),
            "0.obj_id: got '255'",
        ),
    ],
)  # fmt: skip
def test_annotations_that_do_not_fit_are_named_with_their_place(tmp_path, name, file, change, message):
    folder = WRITERS[name](tmp_path / "set")
    path = folder / file
    document = json.loads(path.read_text())
    change(document["videos"]["cats"] if "cats" in document.get("videos", {}) else document)
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=message) as caught:
        read_all(f"{name}:{folder}")
    assert "\n" not in str(caught.value)


def test_annotation_pictures_that_do_not_fit_are_named(tmp_path):
    folder = sets.reasonvos(tmp_path / "set")
    video = open_benchmark(f"reasonvos:{folder}").dataset[0]
    video.open()
    path = folder / "Annotations" / "MOSE_cats_2" / "00005.png"
    for content, message in (
        (b"", "expected a PNG"),
        (b"\x89PNG\r\n\x1a\n" + bytes(30), "expected a PNG"),
        (_png(np.zeros((5, 5), np.uint8)), "5 x 5, expected a grey or indexed one of 12 x 20"),
        (_png(np.zeros((*SIZE, 3), np.uint8)), "mode RGB"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"00005.png: .*{message}"):
            video.truth(1)
    path.unlink()
    with pytest.raises(InputError, match=r"00005.png: cannot be read \(No such file"):
        video.truth(1)


def _png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_frames_that_no_sentence_is_about_are_left_out(tmp_path):
    folder = sets.long_rvos(tmp_path / "set")
    sets.write_png(folder / "JPEGImages" / "cats" / "00003.png", np.full(SIZE, 9))
    frames = open_benchmark(f"long-rvos:{folder}").dataset[0].open()
    assert (tuple(frames.stems), frames.frame_count) == (FRAMES, 3)
    assert [frame.index for frame in frames.frames()] == [0, 1, 2]
    assert abs(int(frames.read(1).rgb[0, 0, 0]) - 40) < 3


@pytest.mark.parametrize("address", ["revos", "revos:nowhere", "odd:thing", "nowhere"])
def test_an_address_that_leads_nowhere_is_named(address, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="expected"):
        open_benchmark(address)


# Listings of what the official tools write, for two frames of the sets above.
LISTINGS = {
    "mevis": ["cats/0/00000.png", "cats/0/00005.png", "cats/1/00000.png", "cats/1/00005.png"],
    "ref-youtube-vos": [
        *("Annotations/cats/0/00000.png", "Annotations/cats/0/00005.png"),
        *("Annotations/cats/1/00000.png", "Annotations/cats/1/00005.png"),
    ],
    "ref-davis17": [f"anno_{annotator}/cats/{number:05d}.png" for annotator in range(4) for number in range(2)],
    "ref-davis17-expressions": ["cats/0/00000.png", "cats/0/00005.png", "cats/1/00000.png", "cats/1/00005.png"],
    "revos": ["cats/0/00000.png", "cats/0/00005.png", "cats/1/00000.png", "cats/1/00005.png"],
    "reasonvos": ["cats/0/00000.png", "cats/0/00005.png", "cats/7/00000.png", "cats/7/00005.png"],
    "reasonvos-videolisa": [
        *("MOSE_cats_1/0/00000.png", "MOSE_cats_1/0/00005.png"),
        *("MOSE_cats_2/7/00000.png", "MOSE_cats_2/7/00005.png"),
    ],
    "long-rvos": [
        *("Annotations/cats/0/00000.png", "Annotations/cats/0/00005.png"),
        *("Annotations/cats/1/00000.png", "Annotations/cats/1/00005.png"),
    ],
}  # fmt: skip


def submitted(video, layout, masks):
    """Files by path. masks: bool [F, sentences, H, W]."""
    return {
        file.path: file.content
        for index, each in enumerate(masks)
        for file in layout.files(video, index, FRAMES[index], 0, each)
    }


@pytest.mark.parametrize("name", LISTINGS)
def test_a_submissions_files_lie_where_the_official_tools_put_them(opened, name):
    _, benchmark, dataset = opened(name)
    video = dataset[0]
    count = len(video.sentences) if benchmark.layout.joint else 2
    masks = np.zeros((2, count, *SIZE), bool)
    assert sorted(submitted(video, benchmark.layout, masks)) == sorted(LISTINGS[name])


@pytest.mark.parametrize("name", LISTINGS)
def test_what_a_layout_writes_it_reads_back(opened, tmp_path, name):
    _, benchmark, dataset = opened(name)
    video = dataset[0]
    masks = np.zeros((3, len(video.sentences), *SIZE), bool)
    masks[:, :4], masks[:, 4:8] = ONE[:, None], TWO[:, None]
    for path, content in submitted(video, benchmark.layout, masks).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    for index, stem in enumerate(FRAMES):
        for place in range(len(video.sentences)):
            read = benchmark.layout.read(tmp_path, video, index, stem, place, FrameSize(*SIZE))
            assert np.array_equal(read, masks[index, place])


@pytest.mark.parametrize(
    ("name", "mode", "values"), [("mevis", "L", {0, 255}), ("revos", "L", {0, 1}), ("ref-davis17", "P", {0, 1})]
)
def test_values_are_those_that_the_evaluator_counts(opened, name, mode, values):
    _, benchmark, dataset = opened(name)
    video = dataset[0]
    masks = np.zeros((1, len(video.sentences), *SIZE), bool)
    masks[0, :4] = ONE[0]
    content = next(iter(submitted(video, benchmark.layout, masks).values()))
    image = Image.open(io.BytesIO(content))
    assert image.mode == mode
    assert set(np.unique(np.asarray(image))) == values


def test_davis_objects_that_overlap_go_to_the_lower_one_and_have_the_palettes_colours(opened):
    _, benchmark, dataset = opened("ref-davis17")
    masks = np.zeros((1, 8, *SIZE), bool)
    masks[0, 1], masks[0, 5] = sets.box(0, 6, 0, 6), sets.box(3, 9, 3, 9)  # annotator 1, objects 1 and 2
    content = submitted(dataset[0], benchmark.layout, masks)["anno_1/cats/00000.png"]
    image = Image.open(io.BytesIO(content))
    numbers = np.asarray(image)
    assert (numbers[4, 4], numbers[7, 7], numbers[0, 10]) == (1, 2, 0)
    assert image.getpalette()[:12] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]


def test_values_that_revos_would_count_as_wrong_are_refused(opened, tmp_path):
    _, benchmark, dataset = opened("revos")
    sets.write_png(tmp_path / "cats" / "0" / "00000.png", 255 * ONE[0])
    with pytest.raises(InputError, match="got values up to 255, expected 0 and 1"):
        benchmark.layout.read(tmp_path, dataset[0], 0, "00000", 0, FrameSize(*SIZE))


@pytest.mark.parametrize(
    ("name", "folder_rule", "frame_rule"),
    [
        *(("mevis", "zero", "error"), ("revos", "zero", "zero"), ("reasonvos", "skip", "error")),
        *(("long-rvos", "zero", None), ("ref-davis17", "error", "error")),
    ],
)
def test_a_missing_prediction_counts_what_the_evaluator_counts(opened, tmp_path, name, folder_rule, frame_rule):
    _, benchmark, dataset = opened(name)
    video, layout, size = dataset[0], benchmark.layout, FrameSize(*SIZE)
    with pytest.raises(MissingPredictionError) as caught:
        layout.read(tmp_path / "out", video, 0, "00000", 0, size)
    assert caught.value.rule == folder_rule
    for file in layout.files(video, 0, "00000", 0, np.zeros((len(video.sentences), *SIZE), bool)):
        (tmp_path / "out" / file.path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / file.path).write_bytes(file.content)
    if frame_rule is None:
        assert not layout.read(tmp_path / "out", video, 1, "00005", 0, size).any()
    else:
        with pytest.raises(MissingPredictionError) as caught:
            layout.read(tmp_path / "out", video, 1, "00005", 0, size)
        assert caught.value.rule == frame_rule
